# A Kubernetes without nodes, for run.sh: etcd, kube-apiserver and kube-controller-manager on loopback. Source this, do not run it.
# shellcheck shell=bash
#
# Objects are validated, admitted, stored and removed, and workloads make their pods, as in any cluster. No pod ever runs.

# start_cluster DIR: state and logs in DIR; sets and exports KUBECONFIG
cluster_pids=()
start_cluster() {
  local dir=$1 tries=5 token etcd_port api_port
  mkdir -p "$dir"
  token=$(openssl rand -hex 16)
  printf '%s,admin,admin,system:masters\n' "$token" >"$dir/tokens.csv"
  openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null
  while ! try_start "$dir"; do
    stop_cluster
    # A port may be taken. What else is wrong is so the next time too.
    [ $((tries -= 1)) -gt 0 ] || { tail -n 5 "$dir"/*.log >&2; die "the cluster does not start"; }
  done
  kube-controller-manager --kubeconfig="$KUBECONFIG" --authentication-kubeconfig="$KUBECONFIG" \
    --authorization-kubeconfig="$KUBECONFIG" --service-account-private-key-file="$dir/accounts.key" \
    --use-service-account-credentials=false --leader-elect=false --bind-address=127.0.0.1 --secure-port=0 \
    --concurrent-deployment-syncs=2 --cert-dir="$dir/certificates" >"$dir/controllers.log" 2>&1 &
  cluster_pids+=($!)
}

random_port() { echo $((20000 + RANDOM % 10000)); }

# try_start DIR: succeeds once the API server is ready
try_start() {
  local dir=$1 waited=0
  etcd_port=$(random_port) api_port=$(random_port)
  rm -rf "$dir/etcd"
  etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn --listen-client-urls "http://127.0.0.1:$etcd_port" \
    --advertise-client-urls "http://127.0.0.1:$etcd_port" --listen-peer-urls "http://127.0.0.1:$((etcd_port + 10000))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((etcd_port + 10000))" \
    --initial-cluster "default=http://127.0.0.1:$((etcd_port + 10000))" >"$dir/etcd.log" 2>&1 &
  cluster_pids=($!)
  kube-apiserver --etcd-servers="http://127.0.0.1:$etcd_port" --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
    --secure-port="$api_port" --cert-dir="$dir/certificates" --service-cluster-ip-range=10.0.0.0/16 --authorization-mode=RBAC \
    --token-auth-file="$dir/tokens.csv" --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file="$dir/accounts.key" --service-account-key-file="$dir/accounts.key" \
    --endpoint-reconciler-type=none --allow-privileged=true >"$dir/apiserver.log" 2>&1 &
  cluster_pids+=($!)
  export KUBECONFIG=$dir/kubeconfig
  cat >"$KUBECONFIG" <<K
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api_port", insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: "$token"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
K
  until kubectl get --raw /readyz >/dev/null 2>&1; do
    kill -0 "${cluster_pids[0]}" 2>/dev/null && kill -0 "${cluster_pids[1]}" 2>/dev/null || return 1
    [ $((waited += 1)) -lt 600 ] || return 1
    sleep 0.2
  done
}

# stop_cluster: the controllers first, etcd last; nothing in it is worth a slow end
stop_cluster() {
  local i
  for ((i = ${#cluster_pids[@]} - 1; i >= 0; i--)); do
    kill -KILL "${cluster_pids[i]}" 2>/dev/null || true
    wait "${cluster_pids[i]}" 2>/dev/null || true
  done
  cluster_pids=()
}
