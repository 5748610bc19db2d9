#!/bin/bash
# First start makes the directory from LDAP_DOMAIN (or LDAP_BASE_DN),
# LDAP_ORGANISATION and LDAP_ADMIN_PASSWORD (or LDAP_ADMIN_PASSWORD_FILE), with
# the overlays and access rights of osixia/openldap.
set -eo pipefail

[ "${1#-}" = "$1" ] || set -- slapd "$@"
[ "$1" = slapd ] || exec "$@"
shift

# slapd takes memory for every file that it might open.
ulimit -n 1024

config=/etc/ldap/slapd.d
if [ -z "$(ls -A "$config")" ]; then
	domain=${LDAP_DOMAIN:-example.org}
	base=${LDAP_BASE_DN:-dc=${domain//./,dc=}}
	password=${LDAP_ADMIN_PASSWORD:-admin}
	[ -z "${LDAP_ADMIN_PASSWORD_FILE:-}" ] || password=$(cat "$LDAP_ADMIN_PASSWORD_FILE")
	hash=$(printf %s "$password" | slappasswd -n -T /dev/stdin 2>/dev/null)
	{
		cat <<-END
			dn: cn=config
			objectClass: olcGlobal
			cn: config
			olcPidFile: /run/slapd/slapd.pid
			olcArgsFile: /run/slapd/slapd.args

			dn: cn=module,cn=config
			objectClass: olcModuleList
			cn: module
			olcModulePath: /usr/lib/ldap
			olcModuleLoad: back_mdb
			olcModuleLoad: back_monitor
			olcModuleLoad: memberof
			olcModuleLoad: refint

			dn: cn=schema,cn=config
			objectClass: olcSchemaConfig
			cn: schema

		END
		for schema in core cosine nis inetorgperson; do
			cat /etc/ldap/schema/$schema.ldif
			echo
		done
		cat <<-END

			dn: olcDatabase={-1}frontend,cn=config
			objectClass: olcDatabaseConfig
			objectClass: olcFrontendConfig
			olcDatabase: {-1}frontend
			olcAccess: to dn.base="" by * read
			olcAccess: to dn.base="cn=Subschema" by * read

			dn: olcDatabase={0}config,cn=config
			objectClass: olcDatabaseConfig
			olcDatabase: {0}config
			olcAccess: to * by dn.exact=gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth manage by * break

			dn: olcDatabase={1}mdb,cn=config
			objectClass: olcDatabaseConfig
			objectClass: olcMdbConfig
			olcDatabase: {1}mdb
			olcDbDirectory: /var/lib/ldap
			olcDbMaxSize: 1073741824
			olcDbIndex: objectClass eq
			olcDbIndex: entryUUID,entryCSN,member,memberOf,uid eq
			olcSuffix: $base
			olcRootDN: cn=admin,$base
			olcRootPW: $hash
			olcLastMod: TRUE
			olcAccess: to attrs=userPassword by self write by anonymous auth by * none
			olcAccess: to * by self read by * none

			dn: olcOverlay={0}memberof,olcDatabase={1}mdb,cn=config
			objectClass: olcOverlayConfig
			objectClass: olcMemberOf
			olcOverlay: {0}memberof
			olcMemberOfRefInt: TRUE
			olcMemberOfDangling: ignore
			olcMemberOfGroupOC: groupOfUniqueNames
			olcMemberOfMemberAD: uniqueMember
			olcMemberOfMemberOfAD: memberOf

			dn: olcOverlay={1}refint,olcDatabase={1}mdb,cn=config
			objectClass: olcOverlayConfig
			objectClass: olcRefintConfig
			olcOverlay: {1}refint
			olcRefintAttribute: owner
			olcRefintAttribute: manager
			olcRefintAttribute: uniqueMember

			dn: olcDatabase={2}monitor,cn=config
			objectClass: olcDatabaseConfig
			olcDatabase: {2}monitor
		END
	} | slapadd -n 0 -F "$config"
	first=${base%%,*}
	slapadd -n 1 -F "$config" <<-END
		dn: $base
		objectClass: top
		objectClass: dcObject
		objectClass: organization
		o: ${LDAP_ORGANISATION:-Example Inc.}
		dc: ${first#dc=}
	END
fi
chown -R openldap:openldap "$config" /var/lib/ldap /run/slapd
exec /usr/sbin/slapd -h "ldap:/// ldapi:///" -u openldap -g openldap -F "$config" -d "${LDAP_LOG_LEVEL:-0}" "$@"
