#!/bin/sh
# Options alone are the server's. With ETCD_ROOT_PASSWORD the user root is made
# and authentication turned on by a server at another port, before the real one
# starts.
set -e

if [ "${1#-}" != "$1" ]; then
	set -- etcd "$@"
fi
if [ "$1" = etcd ]; then
	case "$*" in
	*--listen-client-urls*) ;; # etcd refuses variables beside arguments
	*) export ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379 ;;
	esac
fi
password=$ETCD_ROOT_PASSWORD
unset ETCD_ROOT_PASSWORD # the server logs variables that it does not know
if [ "$1" = etcd ] && [ -n "$password" ] && [ ! -d "$ETCD_DATA_DIR/member" ]; then
	export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=127.0.0.1:23790
	ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:23790 ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:23790 etcd >/dev/null 2>&1 &
	until etcdctl endpoint health >/dev/null 2>&1; do
		kill -0 $!
		sleep 0.1
	done
	etcdctl user add "root:$password" >/dev/null
	etcdctl user grant-role root root >/dev/null
	etcdctl auth enable >/dev/null
	kill $!
	wait $! || true
	unset ETCDCTL_API ETCDCTL_ENDPOINTS
fi
exec "$@"
