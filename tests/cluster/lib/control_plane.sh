# shellcheck shell=bash
# etcd, the API server, the controllers and the scheduler, as Kubernetes has them but for how they are
# reached. To be sourced, after common.sh, credentials.sh and parts.sh.

make_control_plane_credentials() {
  issue_to_api_server
  issue_to_client api-server-to-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
  issue_to_client admin /O=system:masters/CN=admin
  make_kubeconfig "$folder/admin.kubeconfig" admin "$API_ADDRESS_FOR_HOST"
  local name
  for name in controller-manager scheduler; do
    issue_to_client "$name" "/CN=system:kube-$name"
    make_kubeconfig "$credentials/$name.kubeconfig" "$name" "$API_ADDRESS"
  done
}

# One function a part, so that `part` can start it again, with the same command and the same data.
readonly CONTROL_PLANE_PARTS=(etcd kube-apiserver kube-controller-manager kube-scheduler)
start_control_plane_part() { "start_${1//-/_}"; }

start_etcd() {
  # What a test stored need not outlive the machine.
  start etcd "$CONTROL_PLANE" etcd --data-dir="$folder/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:0
}

start_kube_apiserver() {
  start kube-apiserver "$CONTROL_PLANE" kube-apiserver \
    --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --secure-port=443 --advertise-address="$API_ADDRESS" \
    --service-cluster-ip-range="$SERVICE_RANGE" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true \
    --client-ca-file="$credentials/authority.crt" \
    --tls-cert-file="$credentials/api-server.crt" \
    --tls-private-key-file="$credentials/api-server.key" \
    --kubelet-client-certificate="$credentials/api-server-to-kubelet.crt" \
    --kubelet-client-key="$credentials/api-server-to-kubelet.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$credentials/service-account.pub" \
    --service-account-signing-key-file="$credentials/service-account.key"
}

# There is one of each of these two, so neither needs an election.
start_kube_controller_manager() {
  local kubeconfig=$credentials/controller-manager.kubeconfig
  # The rate of requests is 20 a second by default, which would make the controllers' own start half of
  # the time that all takes.
  start kube-controller-manager "$CONTROL_PLANE" kube-controller-manager \
    --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" \
    --authorization-kubeconfig="$kubeconfig" --bind-address=127.0.0.1 --leader-elect=false \
    --use-service-account-credentials=true --root-ca-file="$credentials/authority.crt" \
    --service-account-private-key-file="$credentials/service-account.key" \
    --flex-volume-plugin-dir="$folder/volume-plugins" --kube-api-qps=500 --kube-api-burst=500
}

start_kube_scheduler() {
  local kubeconfig=$credentials/scheduler.kubeconfig
  start kube-scheduler "$CONTROL_PLANE" kube-scheduler \
    --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" \
    --authorization-kubeconfig="$kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
}
