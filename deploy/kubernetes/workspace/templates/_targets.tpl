{{/* The targets, who calls whom, and what each may reach and know. */}}

{{- define "workspace.targets" -}}
[identity, project, storage, sync, gateway, relay]
{{- end }}

{{/* As CALLS of services/processes/targets.py; a test compares them. */}}
{{- define "workspace.calls" -}}
identity: [project, storage]
project: [identity, storage]
storage: [identity, project]
sync: [identity, project]
gateway: [identity, project, storage, sync]
relay: []
{{- end }}

{{/* Those that have stores and keys: all but the gateway. */}}
{{- define "workspace.hasStores" -}}
{{- if ne . "gateway" }}true{{ end }}
{{- end }}

{{/* Those that serve gRPC to peers under a certificate: all but the relay. */}}
{{- define "workspace.serves" -}}
{{- if ne . "relay" }}true{{ end }}
{{- end }}

{{/* The gateway has no stores: it gets these settings alone, and with an object proxy
     those of the bucket. */}}
{{- define "workspace.gatewaySettings" -}}
- environment
- log_format
- log_level
- max_concurrent_rpcs
- max_connection_age
- max_message_bytes
- reflection
{{- if .Values.gateway.objectProxy }}
- aws_s3_bucket
- aws_s3_path_style
- aws_s3_public_endpoint
{{- end }}
{{- end }}

{{/* Which rules of networkPolicy.egress count for a target. */}}
{{- define "workspace.egress" -}}
identity: [records, objects, cloud, signIn, telemetry]
project: [records, objects, cloud, signIn, telemetry]
storage: [records, objects, cloud, signIn, telemetry]
sync: [records, objects, cloud, signIn, connections, telemetry]
relay: [records, objects, cloud, mail, webhooks, telemetry]
gateway: [{{ if .Values.gateway.objectProxy }}objects, {{ end }}telemetry]
migration: [records, cloud]
{{- end }}

{{/* Which variables of secretEnv a target gets. SMTP is spoken by the relay alone. */}}
{{- define "workspace.secretEnvOf" -}}
{{- $target := index . 1 }}
{{- $secrets := (index . 0).Values.secretEnv }}
{{- if eq $target "gateway" }}
{{- $secrets = dict }}
{{- else if ne $target "relay" }}
{{- $secrets = omit $secrets "WM_SMTP_PASSWORD" }}
{{- end }}
{{- include "workspace.secretRefs" $secrets }}
{{- end }}

{{- define "workspace.secretRefs" -}}
{{- range $name, $key := . }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $key.name }}
      key: {{ $key.key }}
{{- end }}
{{- end }}

{{/* `defaults` with those of the target over them: (list $ target). */}}
{{- define "workspace.workload" -}}
{{- $root := index . 0 }}
{{- mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy (index $root.Values.targets (index . 1))) | toYaml }}
{{- end }}

{{/* The least replicas that a target runs with. */}}
{{- define "workspace.leastReplicas" -}}
{{- if .autoscaling.enabled }}{{ .autoscaling.minReplicas }}{{ else }}{{ .replicas }}{{ end }}
{{- end }}
