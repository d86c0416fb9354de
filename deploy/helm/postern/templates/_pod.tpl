{{- /*
The container, without its place in a pod. Nothing in it is root's or can be written, and no shell is needed: the
restricted Pod Security Standard.
*/ -}}
{{- define "postern.container" -}}
{{- include "postern.check" . -}}
{{- $values := .Values -}}
{{- $isSidecar := eq $values.mode "sidecar" -}}
name: postern
image: {{ include "postern.image" . | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [serve, --config, /etc/postern]
env:
  - name: POSTERN_LISTEN_CHECK
    value: {{ if $values.socket.enabled -}}
      {{ printf "unix://%s" $values.socket.path | quote }}
      {{- else -}}
      {{ printf "%s:%v" (default (ternary "127.0.0.1" "0.0.0.0" $isSidecar) $values.ports.checkAddress) $values.ports.check | quote }}
      {{- end }}
  - name: POSTERN_LISTEN_ADMIN
    value: {{ printf "%s:%v" $values.ports.adminAddress $values.ports.admin | quote }}
  {{- if $values.tls.secret }}
  - name: POSTERN_LISTEN_TLS
    value: {{ printf "{ certificate: tls/tls.crt, key: tls/tls.key%s }" (ternary ", client_ca: tls/ca.crt" "" $values.tls.requireClientCertificate) | quote }}
  {{- end }}
  {{- with $values.redis }}
  {{- if .enabled }}
  - name: POSTERN_STATE_REDIS
    value: {{ printf "{ url: %q, key_file: redis/state.key, timeout_ms: %v%s }" .url .timeoutMs (ternary ", password_file: redis/password" "" (ne .passwordSecret.name "")) | quote }}
  {{- end }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if not $values.socket.enabled }}
  - { name: grpc, containerPort: {{ $values.ports.check }}, protocol: TCP }
  {{- end }}
  - { name: postern-admin, containerPort: {{ $values.ports.admin }}, protocol: TCP }
# Ready: a revision is loaded and it is not draining. Alive: the event loop turns. Neither asks anything outside.
startupProbe:
  httpGet: { path: /readyz, port: postern-admin }
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: postern-admin }
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: { path: /livez, port: postern-admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $values.user }}
  runAsGroup: {{ $values.user }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
  - { name: postern-settings, mountPath: /etc/postern, readOnly: true }
  - { name: postern-policies, mountPath: /etc/postern/policies, readOnly: true }
  {{- range $values.secretFiles }}
  - { name: {{ printf "postern-%s" (.folder | replace "/" "-") }}, mountPath: {{ printf "/etc/postern/%s" .folder }}, readOnly: true }
  {{- end }}
  {{- if $values.tls.secret }}
  - { name: postern-tls, mountPath: /etc/postern/tls, readOnly: true }
  {{- end }}
  {{- if $values.redis.enabled }}
  - { name: postern-redis, mountPath: /etc/postern/redis, readOnly: true }
  {{- end }}
  {{- if $values.socket.enabled }}
  - { name: postern-socket, mountPath: {{ dir $values.socket.path }} }
  {{- end }}
{{- end -}}

{{- /*
For the initContainers of your pods, before the Envoy that asks: one list item, the native sidecar. It starts before
what comes after it, which waits until it is ready, and it stops after all of that.
*/ -}}
{{- define "postern.sidecar" -}}
{{- if ne .Values.mode "sidecar" }}{{ fail "postern.sidecar: set postern.mode to sidecar" }}{{ end -}}
- restartPolicy: Always
  {{- include "postern.container" . | nindent 2 }}
{{- end -}}

{{- /* For the volumes of the same pods. */ -}}
{{- define "postern.volumes" -}}
{{- $values := .Values -}}
{{- $fullname := include "postern.fullname" . -}}
# Whole folders, never subPath: a subPath is not updated when its ConfigMap is.
- name: postern-settings
  configMap:
    name: {{ default (printf "%s-settings" $fullname) $values.settingsConfigMap }}
- name: postern-policies
  projected:
    sources:
      - configMap:
          name: {{ $fullname }}-policies
          {{- if include "postern.hasFolders" . }}
          # Keys of a ConfigMap cannot hold a slash.
          items:
            {{- range $name, $content := $values.policies }}
            {{- if $content }}
            - { key: {{ include "postern.policyKey" $name | quote }}, path: {{ $name | quote }} }
            {{- end }}
            {{- end }}
          {{- end }}
      {{- range $values.policyConfigMaps }}
      - configMap:
          name: {{ . }}
      {{- end }}
{{- if or $values.secretFiles $values.tls.secret $values.redis.enabled }}
# For the group (fsGroup) and nobody else.
{{- end }}
{{- range $values.secretFiles }}
- name: {{ printf "postern-%s" (.folder | replace "/" "-") }}
  secret: { secretName: {{ .secret }}, defaultMode: 0440 }
{{- end }}
{{- if $values.tls.secret }}
- name: postern-tls
  secret: { secretName: {{ $values.tls.secret }}, defaultMode: 0440 }
{{- end }}
{{- with $values.redis }}
{{- if .enabled }}
- name: postern-redis
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .keySecret.name }}, items: [{ key: {{ .keySecret.key }}, path: state.key }] }
      {{- if .passwordSecret.name }}
      - secret: { name: {{ .passwordSecret.name }}, items: [{ key: {{ .passwordSecret.key }}, path: password }] }
      {{- end }}
{{- end }}
{{- end }}
{{- if $values.socket.enabled }}
- name: postern-socket
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- end }}
{{- end -}}

{{- /*
For the securityContext of the same pods: the group that may read the Secrets, and the socket, whose mode is 0660. An
Envoy that uses the socket must run in this group too, which fsGroup sees to.
*/ -}}
{{- define "postern.podSecurityContext" -}}
fsGroup: {{ .Values.user }}
fsGroupChangePolicy: OnRootMismatch
{{- end -}}

{{- /* For the volumeMounts of the Envoy that asks over the socket: one list item. */ -}}
{{- define "postern.socketMount" -}}
- { name: postern-socket, mountPath: {{ dir .Values.socket.path }}, readOnly: true }
{{- end -}}

{{- define "postern.policyKey" -}}
{{- . | replace "/" "__" -}}
{{- end -}}

{{- define "postern.hasFolders" -}}
{{- range $name, $_ := .Values.policies }}{{ if contains "/" $name }}yes{{ end }}{{ end -}}
{{- end -}}
