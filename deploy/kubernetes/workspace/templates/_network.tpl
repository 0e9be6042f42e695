{{/* Egress of a target without its peers, each rule once: (list $ target). */}}
{{- define "workspace.egressRules" -}}
{{- $root := index . 0 }}
{{- $policy := $root.Values.networkPolicy }}
{{- $rules := include "workspace.dnsRule" $root | fromYamlArray }}
{{- range index (include "workspace.egress" $root | fromYaml) (index . 1) }}
{{- $rules = concat $rules (index $policy.egress .) }}
{{- end }}
{{- toYaml (uniq $rules) }}
{{- end }}

{{- define "workspace.dnsRule" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
