{{/* Names and labels. */}}

{{- define "workspace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Of the release; `<fullname>-<target>` has to fit into 63 characters. */}}
{{- define "workspace.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "workspace.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "workspace.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Of the headless Service of a target, as peers and certificates write it.
     Call it with (list $ target). */}}
{{- define "workspace.host" -}}
{{- $root := index . 0 }}
{{- printf "%s-%s.%s.svc.%s" (include "workspace.fullname" $root) (index . 1) $root.Release.Namespace $root.Values.clusterDomain }}
{{- end }}

{{/* What never changes: selectors. Call it with (list $ component). */}}
{{- define "workspace.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "workspace.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object. Those of ours win over commonLabels. */}}
{{- define "workspace.labels" -}}
{{- $root := index . 0 }}
{{- $ours := include "workspace.selector" . | fromYaml }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "workspace" }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
{{- merge $ours $root.Values.commonLabels | toYaml }}
{{- end }}

{{- define "workspace.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Call it with (list $ target workload). */}}
{{- define "workspace.serviceAccountName" -}}
{{- $workload := index . 2 }}
{{- if $workload.serviceAccount.name }}
{{- $workload.serviceAccount.name }}
{{- else }}
{{- printf "%s-%s" (include "workspace.fullname" (index . 0)) (index . 1) }}
{{- end }}
{{- end }}
