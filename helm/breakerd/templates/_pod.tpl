{{/* The template of the pods, of a Deployment as of a StatefulSet. */}}
{{- define "breakerd.podTemplate" -}}
metadata:
  labels:
    {{- include "breakerd.podLabels" . | nindent 4 }}
  annotations:
    # Of what needs a restart only: breakerd takes changed thresholds while it runs.
    checksum/config: {{ include "breakerd.configChecksum" . }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "breakerd.serviceAccountName" . | toYaml }}
  automountServiceAccountToken: false
  # Kubernetes would set BREAKERD_PORT and its like for a service of this name, among breakerd's own settings.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | toYaml }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . | toYaml }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . | toYaml }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml (.Values.podSecurityContext | default dict) | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: breakerd
      image: {{ include "breakerd.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env:
        {{- include "breakerd.environment" . | nindent 8 }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: http
          containerPort: 8080
      startupProbe:
        {{- include "breakerd.probe" (dict "root" . "name" "liveness" "path" "/livez") | nindent 8 }}
        {{- with .Values.probes.startup }}{{ toYaml . | nindent 8 }}{{ end }}
      livenessProbe:
        {{- include "breakerd.probe" (dict "root" . "name" "liveness" "path" "/livez") | nindent 8 }}
        {{- with .Values.probes.liveness }}{{ toYaml . | nindent 8 }}{{ end }}
      readinessProbe:
        {{- include "breakerd.probe" (dict "root" . "name" "readiness" "path" "/readyz") | nindent 8 }}
        {{- with .Values.probes.readiness }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .Values.lifecycle }}
      lifecycle:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml (.Values.resources | default dict) | nindent 8 }}
      securityContext:
        {{- toYaml (.Values.securityContext | default dict) | nindent 8 }}
      volumeMounts:
        # The folder, not one file by subPath: a file mounted that way never changes under a running process.
        - name: config
          mountPath: /etc/breakerd
          readOnly: true
        {{- if .Values.database.existingSecret }}
        - name: database
          mountPath: /etc/breakerd-database
          readOnly: true
        {{- end }}
        {{- if .Values.auth.existingSecret }}
        - name: auth
          mountPath: /etc/breakerd-auth
          readOnly: true
        {{- end }}
        {{- if .Values.tls.existingSecret }}
        - name: tls
          mountPath: /etc/breakerd-tls
          readOnly: true
        {{- end }}
        {{- if include "breakerd.tracingFile" (dict "root" . "secret" "headersSecret") }}
        - name: tracing-headers
          mountPath: /etc/breakerd-tracing-headers
          readOnly: true
        {{- end }}
        {{- if include "breakerd.tracingFile" (dict "root" . "secret" "caSecret") }}
        - name: tracing-ca
          mountPath: /etc/breakerd-tracing-ca
          readOnly: true
        {{- end }}
        {{- range .Values.notify }}
        {{- if .existingSecret }}
        - name: notify-{{ .name }}
          mountPath: /etc/breakerd-notify/{{ .name }}
          readOnly: true
        {{- end }}
        {{- end }}
        - name: data
          mountPath: /var/lib/breakerd
        - name: tmp
          mountPath: /tmp
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "breakerd.fullname" . | toYaml }}
    {{- with .Values.database.existingSecret }}
    - name: database
      secret:
        secretName: {{ . | toYaml }}
        # For the group of the pod, which fsGroup makes the owner
        defaultMode: 0440
        items:
          - key: {{ $.Values.database.secretKey | toYaml }}
            path: url
    {{- end }}
    {{- with .Values.auth.existingSecret }}
    - name: auth
      secret:
        secretName: {{ . | toYaml }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . | toYaml }}
        defaultMode: 0440
    {{- end }}
    {{- with include "breakerd.tracingFile" (dict "root" . "secret" "headersSecret") }}
    - name: tracing-headers
      secret:
        secretName: {{ . | toYaml }}
        defaultMode: 0440
        items:
          - key: {{ $.Values.tracing.headersKey | toYaml }}
            path: headers
    {{- end }}
    {{- with include "breakerd.tracingFile" (dict "root" . "secret" "caSecret") }}
    - name: tracing-ca
      secret:
        secretName: {{ . | toYaml }}
        defaultMode: 0440
        items:
          - key: {{ $.Values.tracing.caKey | toYaml }}
            path: ca.crt
    {{- end }}
    {{- range .Values.notify }}
    {{- if .existingSecret }}
    - name: notify-{{ .name }}
      secret:
        secretName: {{ .existingSecret | toYaml }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- else if not (include "breakerd.onPostgres" .) }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ include "breakerd.claimName" . | toYaml }}
    {{- end }}
    # SQLite sorts large results in files there
    - name: tmp
      emptyDir: {}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "breakerd.hasSeveralPods" . }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $constraint := . }}
    {{- if not (hasKey . "labelSelector") }}
    {{- $constraint = merge (dict "labelSelector" (dict "matchLabels" (include "breakerd.selectorLabels" $ | fromYaml))) . }}
    {{- end }}
    - {{- toYaml $constraint | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The settings of breakerd that values stand for. extraEnv may not name one of these: values.schema.json lists them. */}}
{{- define "breakerd.environment" -}}
- name: BREAKERD_CONFIG
  value: /etc/breakerd/breakerd.toml
- name: BREAKERD_GRPC_LISTEN
  value: {{ printf "%s:50051" .Values.listenAddress | quote }}
- name: BREAKERD_HTTP_LISTEN
  value: {{ printf "%s:8080" .Values.listenAddress | quote }}
- name: BREAKERD_DATA_DIR
  value: /var/lib/breakerd
# In the history, the logs and the metrics
- name: BREAKERD_REPLICA
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: BREAKERD_METRICS_NAMESPACE
  value: {{ .Values.metrics.namespace | toYaml }}
{{- with .Values.database }}
{{- if .existingSecret }}
- name: BREAKERD_STORE_URL_FILE
  value: /etc/breakerd-database/url
{{- else if include "breakerd.onPostgres" $ }}
- name: DATABASE_URL
  value: {{ include "breakerd.databaseUrl" $ | quote }}
{{- with .credentialsSecret }}
- name: PGUSER
  valueFrom:
    secretKeyRef:
      name: {{ . | toYaml }}
      key: {{ $.Values.database.userKey | toYaml }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . | toYaml }}
      key: {{ $.Values.database.passwordKey | toYaml }}
{{- end }}
{{- end }}
{{- if .listen.existingSecret }}
- name: BREAKERD_STORE_LISTEN_URL
  valueFrom:
    secretKeyRef:
      name: {{ .listen.existingSecret | toYaml }}
      key: {{ .listen.secretKey | toYaml }}
{{- else if .listen.url }}
- name: BREAKERD_STORE_LISTEN_URL
  value: {{ .listen.url | quote }}
{{- end }}
{{- end }}
{{- if .Values.auth.existingSecret }}
- name: BREAKERD_AUTH_TOKENS_FILE
  value: /etc/breakerd-auth/{{ .Values.auth.secretKey }}
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: BREAKERD_TLS_CERTIFICATE
  value: /etc/breakerd-tls/tls.crt
- name: BREAKERD_TLS_KEY
  value: /etc/breakerd-tls/tls.key
- name: BREAKERD_HTTP_TLS
  value: {{ .Values.tls.http | quote }}
{{- if .Values.tls.clientCaKey }}
- name: BREAKERD_TLS_CLIENT_CA
  value: /etc/breakerd-tls/{{ .Values.tls.clientCaKey }}
- name: BREAKERD_TLS_CLIENT_CERTIFICATE
  value: {{ .Values.tls.clientCertificate }}
{{- end }}
{{- end }}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: BREAKERD_TRACING_ENDPOINT
  value: {{ .endpoint | quote }}
- name: BREAKERD_TRACING_PROTOCOL
  value: {{ .protocol }}
- name: BREAKERD_TRACING_SAMPLE_RATIO
  value: {{ printf "%.6f" (float64 .sampleRatio) | quote }}
{{- with .serviceName }}
- name: BREAKERD_TRACING_SERVICE_NAME
  value: {{ . | quote }}
{{- end }}
{{- with .resourceAttributes }}
{{- $pairs := list }}
{{- range $key, $value := . }}
{{- $pairs = append $pairs (printf "%s=%s" $key (toString $value | urlquery | replace "+" "%20")) }}
{{- end }}
- name: BREAKERD_TRACING_RESOURCE_ATTRIBUTES
  value: {{ join "," $pairs | quote }}
{{- end }}
{{- if .headersSecret }}
- name: BREAKERD_TRACING_HEADERS_FILE
  value: /etc/breakerd-tracing-headers/headers
{{- end }}
{{- if .caSecret }}
- name: BREAKERD_TRACING_CA
  value: /etc/breakerd-tracing-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The secret of a file for traces, while they are enabled: dict "root" $ "secret" the name of the value. */}}
{{- define "breakerd.tracingFile" -}}
{{- with .root.Values.tracing }}{{ if .endpoint }}{{ get . $.secret }}{{ end }}{{ end }}
{{- end }}

{{/* dict "root" $ "name" the name of gRPC health "path" that of the HTTP port */}}
{{- define "breakerd.probe" -}}
{{- with .root.Values }}
{{- if or (eq .probes.protocol "http") .tls.existingSecret -}}
httpGet:
  path: {{ $.path }}
  port: http
  scheme: {{ include "breakerd.httpScheme" $.root | upper }}
{{- else -}}
grpc:
  port: 50051
  service: {{ $.name }}
{{- end }}
{{- end }}
{{- end }}
