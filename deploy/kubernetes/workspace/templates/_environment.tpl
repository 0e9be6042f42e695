{{/* The variables WM_* of a target: (list $ target workload). */}}

{{- define "workspace.environment" -}}
{{- $root := index . 0 }}
{{- $target := index . 1 }}
{{- $values := $root.Values }}
{{- $all := dict }}
{{- $settings := mergeOverwrite (deepCopy $values.settings) (deepCopy (index . 2).settings) }}
{{- if eq $target "gateway" }}
{{- $known := include "workspace.gatewaySettings" $root | fromYamlArray }}
{{- range $name := keys $settings }}
{{- if not (has $name $known) }}
{{- $settings = omit $settings $name }}
{{- end }}
{{- end }}
{{- else if ne $target "relay" }}
{{- $settings = omit $settings "smtp_password" }}
{{- end }}
{{- range $name, $value := $settings }}
{{- $_ := set $all (printf "WM_%s" (upper $name)) (include "workspace.value" $value) }}
{{- end }}
{{- $calls := index (include "workspace.calls" $root | fromYaml) $target }}
{{- range $calls }}
{{- $_ := set $all (printf "WM_PEER_%s" (upper .)) (printf "dns:///%s:%v" (include "workspace.host" (list $root .)) $values.ports.grpc) }}
{{- end }}
{{- merge (include "workspace.managed" . | fromYaml) $all | toYaml }}
{{- end }}

{{/* What the chart decides itself. */}}
{{- define "workspace.managed" -}}
{{- $root := index . 0 }}
{{- $target := index . 1 }}
{{- $values := $root.Values }}
WM_TARGETS: {{ $target }}
WM_DATA_DIR: /var/lib/workspace
WM_PUBLIC_URL: {{ $values.publicUrl | quote }}
WM_OPERATIONS_HOST: 0.0.0.0
WM_PROBE_PORT: {{ $values.ports.probe | quote }}
WM_METRICS_PORT: {{ $values.ports.metrics | quote }}
WM_DRAIN_DELAY: {{ $values.drain.delay | quote }}
WM_DRAIN_GRACE: {{ $values.drain.grace | quote }}
WM_MIGRATE_AT_START: "false"
{{- if and (include "workspace.hasStores" $target) $values.keys.secret }}
WM_KEYS_SECRET: {{ $values.keys.secret | quote }}
{{- end }}
{{- if include "workspace.serves" $target }}
WM_GRPC_HOST: 0.0.0.0
WM_GRPC_PORT: {{ $values.ports.grpc | quote }}
WM_PEER_TRUST_DOMAIN: {{ $values.certificates.trustDomain }}
WM_PEER_CA: {{ include "workspace.authority" $root }}
{{- end }}
{{- if eq $target "gateway" }}
WM_HTTP_HOST: 0.0.0.0
WM_HTTP_PORT: {{ $values.ports.http | quote }}
WM_TLS_CERTIFICATE: {{ include "workspace.publishedFolder" $root }}/tls.crt
WM_TLS_KEY: {{ include "workspace.publishedFolder" $root }}/tls.key
WM_PEER_CERTIFICATE: /etc/workspace/certificate/tls.crt
WM_PEER_KEY: /etc/workspace/certificate/tls.key
{{- with $values.gateway.objectProxy }}
WM_OBJECT_PROXY: {{ . | quote }}
{{- end }}
{{- else if include "workspace.serves" $target }}
WM_TLS_CERTIFICATE: /etc/workspace/certificate/tls.crt
WM_TLS_KEY: /etc/workspace/certificate/tls.key
WM_TLS_CLIENT_CA: {{ include "workspace.authority" $root }}
{{- end }}
{{- end }}

{{/* Where a process finds the authority of its peers. */}}
{{- define "workspace.authority" -}}
{{- if .Values.certificates.bundle.configMap -}}
/etc/workspace/authority/{{ .Values.certificates.bundle.key }}
{{- else -}}
/etc/workspace/certificate/ca.crt
{{- end }}
{{- end }}

{{/* The certificate that clients of the gateway see. */}}
{{- define "workspace.publishedFolder" -}}
{{- if include "workspace.publishedSecret" . -}}
/etc/workspace/published
{{- else -}}
/etc/workspace/certificate
{{- end }}
{{- end }}

{{- define "workspace.publishedSecret" -}}
{{- if .Values.gateway.tls.secretName }}
{{- .Values.gateway.tls.secretName }}
{{- else if .Values.gateway.tls.issuerRef.name }}
{{- include "workspace.fullname" . }}-published-tls
{{- end }}
{{- end }}

{{/* A setting as text. YAML makes whole numbers floats, which would be 4.194304e+06. */}}
{{- define "workspace.value" -}}
{{- if or (kindIs "slice" .) (kindIs "map" .) }}
{{- toJson . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}
{{- int64 . }}
{{- else }}
{{- toString . }}
{{- end }}
{{- end }}

{{/* The settings of all, for the job that makes the tables. */}}
{{- define "workspace.migrationEnvironment" -}}
{{- $secrets := omit (merge (deepCopy .Values.migration.secretEnv) .Values.secretEnv) "WM_SMTP_PASSWORD" }}
{{- $all := dict "WM_DATA_DIR" "/var/lib/workspace" }}
{{- range $name, $value := omit .Values.settings "smtp_password" }}
{{- $_ := set $all (printf "WM_%s" (upper $name)) (include "workspace.value" $value) }}
{{- end }}
{{- range $name, $value := $all }}
{{- if not (hasKey $secrets $name) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- include "workspace.secretRefs" $secrets }}
{{- end }}
