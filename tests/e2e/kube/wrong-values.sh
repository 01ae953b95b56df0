# The wrong values, for wrong.sh: source this, do not run it. Each: its name, what the chart says, what the server says, arguments of Helm.
# shellcheck shell=bash
# shellcheck disable=SC2154 # part_wrong sets db and monitor

wrong "a pod label over the selector's" 'app.kubernetes.io/name' 'selector.*does not match template' \
  --set 'podLabels.app\.kubernetes\.io/name=mine'
wrong "a common label over the selector's" 'app.kubernetes.io/instance' 'already set|does not match' \
  --set 'commonLabels.app\.kubernetes\.io/instance=mine'
wrong "a label that is none" commonLabels 'a valid label must' --set 'commonLabels.team=not a label'
wrong "the key of an annotation that is none" 'not a key' 'name part must consist' --set 'podAnnotations.not a key=x'
wrong "a readiness threshold of liveness" successThreshold 'successThreshold.*must be 1' --set probes.liveness.successThreshold=3
wrong "a probe that never asks" periodSeconds 'periodSeconds' --set probes.readiness.periodSeconds=-1
wrong "two kinds of probes in one" httpGet 'may not specify more than 1 handler type' --set probes.liveness.httpGet.port=8080
wrong "ports that are equal" 'is grpcPort too' 'Duplicate value' --set service.httpPort=50051
wrong "node ports that are equal" 'is grpcNodePort too' 'Duplicate value|already allocated' \
  --set service.type=NodePort,service.grpcNodePort=30051,service.httpNodePort=30051
wrong "node ports without nodes" 'need service.type' 'may not be used when .*type.* is .*ClusterIP' --set service.grpcNodePort=30051
wrong "source ranges without a load balancer" 'need service.type' 'may only be used when|LoadBalancer' \
  --set-json 'service.loadBalancerSourceRanges=["10.0.0.0/8"]'
wrong "a policy of outer traffic without any" 'needs service.type' 'externalTrafficPolicy' --set service.externalTrafficPolicy=Local
wrong "a volume of no size" size 'must be greater than zero' --set persistence.size=0
wrong "a volume of no size on Postgres" size 'must be greater than zero' --set persistence.size=0 "${db[@]}"
wrong "a size that is none" size 'quantities must match' --set persistence.size=large
wrong "a volume named as ours" extraVolumes 'Duplicate value' --set-json 'extraVolumes=[{"name":"data","emptyDir":{}}]'
wrong "a mount where ours is" extraVolumeMounts 'must be unique' \
  --set-json 'extraVolumes=[{"name":"x","emptyDir":{}}]' --set-json 'extraVolumeMounts=[{"name":"x","mountPath":"/tmp"}]'
wrong "a mount without a volume" 'there is no volume ca' 'Not found' --set-json 'extraVolumeMounts=[{"name":"ca","mountPath":"/ca"}]'
wrong "a container named as ours" sidecars 'Duplicate value' --set-json 'sidecars=[{"name":"breakerd","image":"x"}]'
wrong "a misspelled kind of affinity" affinity 'unknown field|strict decoding' --set-json 'affinity={"nodes":{}}'
wrong "a misspelled resource" resources 'unknown field|strict decoding' --set resources.limit.memory=1Gi
wrong "an amount that is none" memory 'quantities must match' --set resources.limits.memory=lots
wrong "a variable with two values" extraEnv 'may not be specified when' \
  --set-json 'extraEnv=[{"name":"A","value":"x","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]'
wrong "an interval that is none" serviceMonitor 'scrapeTimeout|interval' "${monitor[@]}" --set serviceMonitor.interval=soon
wrong "a negative wait" minReadySeconds 'must be greater than or equal to 0' --set minReadySeconds=-1
wrong "a wait that is longer than a rollout may take" minReadySeconds 'must be greater than minReadySeconds' --set minReadySeconds=9999
wrong "a request over its limit" 'more than the limit' 'must be less than or equal to memory limit' --set resources.requests.memory=2Gi
wrong "a resource that is none" processor 'must be a standard resource' --set resources.requests.processor=1
wrong "a class of storage that is no name" storageClass 'storageClassName: Invalid value' --set persistence.storageClass=A_b
wrong "a volume for one pod and for others" accessModes 'may not use ReadWriteOncePod with other' \
  --set-json 'persistence.accessModes=["ReadWriteOncePod","ReadWriteMany"]'
wrong "two families of addresses in a single stack" 'two need ipFamilyPolicy' 'when multiple IP families are specified' \
  --set-json 'service.ipFamilies=["IPv4","IPv6"]' --set listenAddress='[::]'
wrong "a source range that is none" loadBalancerSourceRanges 'must be a valid CIDR' \
  --set service.type=LoadBalancer --set-json 'service.loadBalancerSourceRanges=["10.0.0.0/99"]'
wrong "a protocol that is no name" grpcAppProtocol 'appProtocol: Invalid value' --set service.grpcAppProtocol='not a name'
route=(--set grpcRoute.enabled=true)
gateway=("${route[@]}" --set 'grpcRoute.parentRefs[0].name=gateway')
wrong "a gateway twice" parentRefs 'sectionName must be unique' "${route[@]}" \
  --set-json 'grpcRoute.parentRefs=[{"name":"gateway"},{"name":"gateway"}]'
wrong "a host that is no name" hostnames 'hostnames\[0\]: Invalid value' "${gateway[@]}" --set-json 'grpcRoute.hostnames=["a..b"]'
wrong "a filter without content" filters 'must be specified for RequestHeaderModifier' "${gateway[@]}" \
  --set-json 'grpcRoute.filters=[{"type":"RequestHeaderModifier"}]'
scaling=(--set autoscaling.enabled=true "${db[@]}")
wrong "a policy of scaling that is none" behavior 'supported values: "Percent", "Pods"' "${scaling[@]}" \
  --set-json 'autoscaling.behavior={"scaleUp":{"policies":[{"type":"Nodes","value":1,"periodSeconds":60}]}}'
wrong "scaling by a misspelled field" behavior 'unknown field|strict decoding' "${scaling[@]}" \
  --set-json 'autoscaling.behavior={"scaleUp":{"stabilization":60}}'
policy=(--set networkPolicy.enabled=true)
wrong "addresses that are none" grpcFrom 'must be a valid CIDR' "${policy[@]}" \
  --set-json 'networkPolicy.grpcFrom=[{"ipBlock":{"cidr":"everybody/8"}}]'
wrong "addresses and pods in one" grpcFrom 'may not specify both ipBlock and another peer' "${policy[@]}" \
  --set-json 'networkPolicy.grpcFrom=[{"ipBlock":{"cidr":"10.0.0.0/8"},"podSelector":{}}]'
wrong "a selector without values" httpFrom 'must be specified when' "${policy[@]}" \
  --set-json 'networkPolicy.httpFrom=[{"podSelector":{"matchExpressions":[{"key":"a","operator":"In"}]}}]'
wrong "ports that end before they begin" 'is before port' 'must be greater than or equal to' "${policy[@]}" \
  --set-json 'networkPolicy.egress=[{"ports":[{"port":10,"endPort":5}]}]'
wrong "an action of relabeling that is none" relabelings 'Unsupported value: "rename"' "${monitor[@]}" \
  --set-json 'serviceMonitor.relabelings=[{"action":"rename"}]'
wrong "files of a PodMonitor" 'and no files' 'unknown field|strict decoding' --set podMonitor.enabled=true,podMonitor.tlsConfig.caFile=/ca.crt
wrong "a user below zero" runAsUser 'must be between 0 and' --set podSecurityContext.runAsUser=-1
wrong "a profile of system calls that is none" seccompProfile 'Unsupported value: "Strict"' --set podSecurityContext.seccompProfile.type=Strict
wrong "a privileged container that may not escalate" 'needs allowPrivilegeEscalation' 'cannot set .*allowPrivilegeEscalation' \
  --set securityContext.privileged=true
wrong "a class of priority that is no name" priorityClassName 'priorityClassName: Invalid value' --set priorityClassName=A_b
wrong "a node's label that is none" nodeSelector 'nodeSelector: Invalid value' --set-json 'nodeSelector={"a":"b c"}'
wrong "a toleration of a value that is there" tolerations 'value must be empty when' \
  --set-json 'tolerations=[{"key":"a","operator":"Exists","value":"b"}]'
wrong "a toleration for a time, without eviction" tolerations "effect must be 'NoExecute'" \
  --set-json 'tolerations=[{"key":"a","effect":"NoSchedule","tolerationSeconds":1}]'
wrong "no node at all" nodeSelectorTerms 'must have at least one node selector term' \
  --set-json 'affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}'
spread=("${db[@]}" --set replicaCount=2)
wrong "pods spread twice" 'topologySpreadConstraints: two for' 'Duplicate value' "${spread[@]}" --set-json 'topologySpreadConstraints=[
  {"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"},{"maxSkew":2,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}]'
wrong "domains that are not required" whenUnsatisfiable 'can only use minDomains if' "${spread[@]}" \
  --set-json 'topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway","minDomains":2}]'
wrong "a field of the pod that is none" fieldPath 'field label not supported' \
  --set-json 'extraEnv=[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.hostname"}}}]'
wrong "a volume of a secret without a name" extraVolumes 'secretName: Required value' --set-json 'extraVolumes=[{"name":"a","secret":{}}]'
more=(--set-json 'extraVolumes=[{"name":"a","emptyDir":{}}]')
wrong "two mounts at one place" 'two are at /a' 'must be unique' "${more[@]}" \
  --set-json 'extraVolumeMounts=[{"name":"a","mountPath":"/a"},{"name":"a","mountPath":"/a","subPath":"b"}]'
wrong "a mount from outside of a volume" subPath "must not contain '..'" "${more[@]}" \
  --set-json 'extraVolumeMounts=[{"name":"a","mountPath":"/a","subPath":"../b"}]'
wrong "a mount of a secret that is not there" 'there is no volume auth' 'Not found' --set-json 'extraVolumeMounts=[{"name":"auth","mountPath":"/a"}]'
wrong "two containers of one name" 'two are named a' 'Duplicate value' \
  --set-json 'initContainers=[{"name":"a","image":"b"}]' --set-json 'sidecars=[{"name":"a","image":"b"}]'
wrong "a command that is none" preStop 'command: Required value' --set-json 'lifecycle={"preStop":{"exec":{"command":[]}}}'
wrong "a wait before the end that is longer than the end" 'not less than terminationGracePeriodSeconds' 'less than terminationGracePeriodSeconds' \
  --set lifecycle.preStop.sleep.seconds=90
wrong "a kind of volume that is none" secrets 'unknown field|strict decoding' --set-json 'extraVolumes=[{"name":"a","secrets":{"secretName":"b"}}]'
wrong "a misspelled field of a volume" sizelimit 'unknown field|strict decoding' --set-json 'extraVolumes=[{"name":"a","emptyDir":{"sizelimit":"1Gi"}}]'
wrong "a misspelled field of a container" imagepullPolicy 'unknown field|strict decoding' \
  --set-json 'sidecars=[{"name":"a","image":"b","imagepullPolicy":"Always"}]'
wrong "a variable of a container that is a number" 'sidecars/0/env/0/value' 'cannot unmarshal number' \
  --set-json 'sidecars=[{"name":"a","image":"b","env":[{"name":"A","value":1}]}]'
wrong "a volume of a container that is not there" 'a mounts the volume b' 'Not found' \
  --set-json 'sidecars=[{"name":"a","image":"b","volumeMounts":[{"name":"b","mountPath":"/b"}]}]'
wrong "a mount that is read-only in depth, and writable" readOnly 'may only be specified when readOnly is true' "${more[@]}" \
  --set-json 'extraVolumeMounts=[{"name":"a","mountPath":"/a","recursiveReadOnly":"Enabled"}]'
wrong "a mount of both directions in a pod without privileges" 'needs securityContext.privileged' 'available only to privileged containers' "${more[@]}" \
  --set-json 'extraVolumeMounts=[{"name":"a","mountPath":"/a","mountPropagation":"Bidirectional"}]'
wrong "a port that is no name" preStop 'must contain only alpha-numeric' --set-json 'lifecycle={"preStop":{"httpGet":{"port":"x y"}}}'
wrong "a misspelled field of a hook" url 'unknown field|strict decoding' --set-json 'lifecycle={"preStop":{"httpGet":{"port":80,"url":"/"}}}'
wrong "a misspelled label of SELinux" grade 'unknown field|strict decoding' --set podSecurityContext.seLinuxOptions.grade=s0
wrong "a node's label that can have no such value" nodeSelectorTerms 'a valid label must' --set-json 'affinity={"nodeAffinity":
  {"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"In","values":["b c"]}]}]}}}'
wrong "keys of labels without a selector" labelSelector 'must not be specified when labelSelector is not set' \
  --set-json 'affinity={"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"a","matchLabelKeys":["b"]}]}}'
wrong "a device without a limit" 'needs a limit' 'Limit must be set' --set-json 'resources={"requests":{"example.org/gpu":1}}'
wrong "half a device" 'is no whole number' 'must be an integer' --set-json 'resources={"limits":{"example.org/gpu":"0.5"}}'
wrong "a filter with the content of another" requestHeaderModifier 'must be specified for RequestHeaderModifier' "${gateway[@]}" \
  --set-json 'grpcRoute.filters=[{"type":"RequestHeaderModifier","requestMirror":{"backendRef":{"name":"a","port":1}}}]'
wrong "a misspelled field of a filter" sets 'unknown field|strict decoding' "${gateway[@]}" \
  --set-json 'grpcRoute.filters=[{"type":"RequestHeaderModifier","requestHeaderModifier":{"sets":[]}}]'
wrong "a mirror without a port" "missing property 'port'" 'Must have port' "${gateway[@]}" \
  --set-json 'grpcRoute.filters=[{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"a"}}}]'
wrong "no port" "missing property 'grpcPort'" 'must be between 1 and 65535|Required value|Invalid value' --set service.grpcPort=null
wrong "no size" "missing property 'size'" 'must be greater than zero|Required value' --set persistence.size=null
