{{- define "postern.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "postern.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "postern.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "postern.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "postern.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}{{- default (include "postern.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}{{- default "default" .Values.serviceAccount.name -}}{{- end -}}
{{- end -}}

{{- define "postern.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}{{- end -}}
{{- end -}}

{{- /* What of the values contradicts itself, said before anything is rendered. */ -}}
{{- define "postern.check" -}}
{{- $settings := .Values.settings | default dict -}}
{{- if and $settings.listen (or $settings.listen.check $settings.listen.admin $settings.listen.tls) -}}
{{- fail "settings.listen: say it with ports, socket and tls, so that probes, Service and volumes follow" -}}
{{- end -}}
{{- if and $settings.state $settings.state.redis -}}
{{- fail "settings.state.redis: say it with redis, so that its Secrets are mounted" -}}
{{- end -}}
{{- if and $settings.policies (ne $settings.policies "policies") -}}
{{- fail "settings.policies: the chart mounts the policies at policies; leave it out" -}}
{{- end -}}
{{- if and .Values.socket.enabled (eq .Values.mode "shared") -}}
{{- fail "socket.enabled: a unix socket cannot be reached from other pods; use mode: sidecar" -}}
{{- end -}}
{{- if and .Values.socket.enabled .Values.tls.secret -}}
{{- fail "tls.secret: a unix socket needs no TLS; use one of the two" -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.redis.keySecret.name) -}}
{{- fail "redis.keySecret.name: name the Secret with the key that records are written under" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (eq .Values.mode "sidecar") -}}
{{- fail "metrics.serviceMonitor: a sidecar has no Service; use metrics.podMonitor" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled (eq .Values.mode "sidecar") (not .Values.metrics.podMonitor.selector) -}}
{{- fail "metrics.podMonitor.selector: say which pods have the sidecar, e.g. {app: orders}" -}}
{{- end -}}
{{- end -}}
