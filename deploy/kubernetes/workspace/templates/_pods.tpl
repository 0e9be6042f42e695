{{/* Parts of pods. */}}

{{/* As the Pod Security Standard "restricted" wants it. fsGroup lets us read Secrets. */}}
{{- define "workspace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "workspace.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "workspace.probes" -}}
# Kubernetes probes gRPC without TLS: the probe port has health alone. "liveness" says that
# the process answers, "" also that its stores and peers were reached.
startupProbe:
  grpc: {port: {{ .Values.ports.probe }}, service: liveness}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  grpc: {port: {{ .Values.ports.probe }}, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc: {port: {{ .Values.ports.probe }}}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* Names of ports: `https` also for gRPC, so that a mesh takes it for what it is. */}}
{{- define "workspace.containerPorts" -}}
{{- $values := (index . 0).Values }}
{{- $target := index . 1 }}
{{- if include "workspace.serves" $target }}
- {name: grpc, containerPort: {{ $values.ports.grpc }}, protocol: TCP}
{{- end }}
{{- if eq $target "gateway" }}
- {name: https, containerPort: {{ $values.ports.http }}, protocol: TCP}
{{- end }}
- {name: probe, containerPort: {{ $values.ports.probe }}, protocol: TCP}
- {name: metrics, containerPort: {{ $values.ports.metrics }}, protocol: TCP}
{{- end }}

{{/* Whole folders, never subPath: kubelet replaces what is in them, and a process reloads
     its certificates. */}}
{{- define "workspace.mounts" -}}
{{- $root := index . 0 }}
{{- $target := index . 1 }}
- {name: data, mountPath: /var/lib/workspace}
- {name: tmp, mountPath: /tmp}
{{- if include "workspace.serves" $target }}
- {name: certificate, mountPath: /etc/workspace/certificate, readOnly: true}
{{- if $root.Values.certificates.bundle.configMap }}
- {name: authority, mountPath: /etc/workspace/authority, readOnly: true}
{{- end }}
{{- end }}
{{- if and (eq $target "gateway") (include "workspace.publishedSecret" $root) }}
- {name: published, mountPath: /etc/workspace/published, readOnly: true}
{{- end }}
{{- if and $root.Values.trust.configMap (include "workspace.hasStores" $target) }}
- {name: trust, mountPath: /etc/workspace/trust, readOnly: true}
{{- end }}
{{- end }}

{{- define "workspace.volumes" -}}
{{- $root := index . 0 }}
{{- $target := index . 1 }}
{{- $values := $root.Values }}
- name: data
  emptyDir: {sizeLimit: {{ $values.scratch.data }}}
- name: tmp
  emptyDir: {sizeLimit: {{ $values.scratch.tmp }}}
{{- if include "workspace.serves" $target }}
- name: certificate
  secret:
    secretName: {{ include "workspace.certificateSecret" (list $root $target) }}
    defaultMode: 0440
{{- with $values.certificates.bundle.configMap }}
- name: authority
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}
{{- if eq $target "gateway" }}
{{- with include "workspace.publishedSecret" $root }}
- name: published
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if include "workspace.hasStores" $target }}
{{- with $values.trust.configMap }}
- name: trust
  configMap:
    name: {{ . }}
{{- end }}
{{- with $values.keys.existingSecret }}
- name: keys
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{- define "workspace.certificateSecret" -}}
{{- $root := index . 0 }}
{{- if eq $root.Values.certificates.mode "secrets" }}
{{- index $root.Values.certificates.secrets (index . 1) }}
{{- else }}
{{- printf "%s-%s-tls" (include "workspace.fullname" $root) (index . 1) }}
{{- end }}
{{- end }}

{{/* Key files have to be plain files that nobody else can read; a mounted Secret is links
     to files of root. So they are copied. It fails when one is missing: replicas would each
     make one that the others do not know. */}}
{{- define "workspace.keysContainer" -}}
- name: keys
  image: {{ include "workspace.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - python
    - -c
    - |
      from pathlib import Path
      from services.secrets.key_files import KEY_FILES, install_keys
      mounted = Path("/run/workspace/keys")
      install_keys(Path("/var/lib/workspace/keys"), {n: (mounted / n).read_bytes() for n in KEY_FILES})
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {memory: 128Mi}
  securityContext:
    {{- include "workspace.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /var/lib/workspace}
    - {name: keys, mountPath: /run/workspace/keys, readOnly: true}
{{- end }}

{{/* Spread over zones, then nodes; each version of a target by itself. */}}
{{- define "workspace.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ index $ 2 }}
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "workspace.selector" (list (index $ 0) (index $ 1)) | nindent 6 }}
{{- end }}
{{- end }}
