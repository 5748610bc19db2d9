#!/bin/sh
# Turns every link mysqlNAME -> mariadb-NAME into a program of that name, then
# removes the mariadb names.
set -e

for link in /usr/bin/mysql* /usr/sbin/mysqld*; do
	[ -L "$link" ] || continue
	program=$(readlink -f "$link")
	rm "$link"
	cp -p "$program" "$link"
done
rm -f /usr/bin/mariadb* /usr/sbin/mariadbd*
# The set-up script looks for the server under its new name only.
sed -i 's/mariadbd/mysqld/g' /usr/bin/mysql_install_db
