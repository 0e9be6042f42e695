{{/* What a schema cannot say in words that help. One call fails with all that is wrong. */}}

{{- define "workspace.validate" -}}
{{- $wrong := concat (include "workspace.wrongSettings" . | fromYamlArray) (include "workspace.wrongSecrets" . | fromYamlArray) (include "workspace.wrongWorkloads" . | fromYamlArray) (include "workspace.wrongPublication" . | fromYamlArray) }}
{{- if $wrong }}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) }}
{{- end }}
{{- end }}

{{- define "workspace.wrongSettings" -}}
{{- $settings := .Values.settings }}
{{- $secret := .Values.secretEnv }}
{{- if and (eq $settings.records "postgresql") (not $settings.records_dsn) (not (hasKey $secret "WM_RECORDS_DSN")) }}
- "secretEnv.WM_RECORDS_DSN: is needed with settings.records=postgresql: the Secret and key that hold the connection string"
{{- end }}
{{- if and $settings.records_dsn (hasKey $secret "WM_RECORDS_DSN") }}
- "settings.records_dsn: secretEnv.WM_RECORDS_DSN says it already; leave one of them out"
{{- end }}
{{- if and $settings.smtp_password (hasKey $secret "WM_SMTP_PASSWORD") }}
- "settings.smtp_password: secretEnv.WM_SMTP_PASSWORD says it already; leave one of them out"
{{- end }}
{{- range $need := list
  (list "objects" "s3" "aws_s3_bucket")
  (list "objects" "s3" "aws_region")
  (list "objects" "azure_blob" "azure_storage_account")
  (list "objects" "azure_blob" "azure_storage_container")
  (list "records" "dynamodb" "aws_dynamodb_table")
  (list "records" "dynamodb" "aws_region")
  (list "records" "cosmos" "azure_cosmos_account")
  (list "records" "cosmos" "azure_cosmos_database")
  (list "records" "cosmos" "azure_cosmos_container")
  (list "mail" "smtp" "smtp_host")
  (list "events" "eventgrid" "azure_event_topic") }}
{{- if and (eq (default "" (index $settings (index $need 0))) (index $need 1)) (not (index $settings (index $need 2))) }}
- "settings.{{ index $need 2 }}: is needed with settings.{{ index $need 0 }}={{ index $need 1 }}"
{{- end }}
{{- end }}
{{- end }}

{{- define "workspace.wrongSecrets" -}}
{{- $keys := .Values.keys }}
{{- if and $keys.secret $keys.existingSecret }}
- "keys: keys.secret and keys.existingSecret exclude each other; leave one of them empty"
{{- else if not (or $keys.secret $keys.existingSecret) }}
- "keys: replicas have to share their key files: set keys.secret (a secret store) or keys.existingSecret (a Secret with the files of keys/)"
{{- end }}
{{- with .Values.certificates.certManager }}
{{- if ge (int (trimSuffix "h" .renewBefore)) (int (trimSuffix "h" .duration)) }}
- "certificates.certManager.renewBefore: is {{ .renewBefore }}, which has to be less than duration {{ .duration }}"
{{- end }}
{{- end }}
{{- if eq .Values.certificates.mode "secrets" }}
{{- range $target := include "workspace.targets" . | fromYamlArray }}
{{- if and (include "workspace.serves" $target) (not (index $.Values.certificates.secrets $target)) }}
- "certificates.secrets.{{ $target }}: is needed with certificates.mode=secrets: a Secret with tls.crt, tls.key and ca.crt"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "workspace.wrongWorkloads" -}}
{{- range $target := include "workspace.targets" . | fromYamlArray }}
{{- $workload := include "workspace.workload" (list $ $target) | fromYaml }}
{{- $at := printf "targets.%s" $target }}
{{- with $workload.autoscaling }}
{{- if .enabled }}
{{- if eq $target "relay" }}
- "{{ $at }}.autoscaling.enabled: one relay works at a time, more only stand by; set replicas"
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
- "{{ $at }}.autoscaling.minReplicas: is {{ .minReplicas }}, more than maxReplicas {{ .maxReplicas }}"
{{- end }}
{{- if not (or .cpuPercent .metrics) }}
- "{{ $at }}.autoscaling: needs cpuPercent or metrics"
{{- end }}
{{- if and .cpuPercent (not (dig "requests" "cpu" "" $workload.resources)) }}
- "{{ $at }}.resources.requests.cpu: is needed with autoscaling.cpuPercent, which is a share of it"
{{- end }}
{{- end }}
{{- end }}
{{- if and (not $workload.serviceAccount.create) (not $workload.serviceAccount.name) }}
- "{{ $at }}.serviceAccount.name: is needed with create=false"
{{- end }}
{{- $least := int (include "workspace.leastReplicas" $workload) }}
{{- if and $workload.disruptionBudget.enabled (gt $least 1) (ge (int $workload.disruptionBudget.maxUnavailable) $least) }}
- "{{ $at }}.disruptionBudget.maxUnavailable: is {{ $workload.disruptionBudget.maxUnavailable }} of {{ $least }} replicas: all of them"
{{- end }}
{{- range $workload.extraEnv }}
{{- if hasPrefix "WM_" .name }}
- "{{ $at }}.extraEnv: {{ .name }} belongs into settings.{{ trimPrefix "WM_" .name | lower }}, or into secretEnv where it is a secret"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "workspace.wrongPublication" -}}
{{- $gateway := .Values.gateway }}
{{- if and $gateway.tls.issuerRef.name (not $gateway.tls.secretName) (not $gateway.tls.dnsNames) }}
- "gateway.tls.dnsNames: are needed with gateway.tls.issuerRef: the names that people use"
{{- end }}
{{- if and $gateway.ingress.enabled (not (or $gateway.ingress.http.host $gateway.ingress.grpc.host)) }}
- "gateway.ingress: needs http.host or grpc.host"
{{- end }}
{{- if and $gateway.ingress.enabled $gateway.ingress.http.host (eq $gateway.ingress.http.host $gateway.ingress.grpc.host) }}
- "gateway.ingress.grpc.host: has to differ from http.host: controllers speak one protocol with a host"
{{- end }}
{{- with $gateway.routes }}
{{- if and .enabled (not .parentRefs) }}
- "gateway.routes.parentRefs: is needed: the Gateway that the routes belong to"
{{- end }}
{{- if and .enabled (not (or .http.hostnames .grpc.hostnames)) }}
- "gateway.routes: needs http.hostnames or grpc.hostnames"
{{- end }}
{{- range .grpc.hostnames }}
{{- if has . $gateway.routes.http.hostnames }}
- "gateway.routes.grpc.hostnames: {{ . }} is one of http.hostnames, too; the Gateway API refuses one name for both"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Longer than a drain takes, so that nothing is killed in the middle. */}}
{{- define "workspace.terminationSeconds" -}}
{{- add (ceil (addf .Values.drain.delay .Values.drain.grace)) .Values.drain.margin }}
{{- end }}
