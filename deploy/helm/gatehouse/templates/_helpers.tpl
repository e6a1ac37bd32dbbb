{{- define "gatehouse.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "gatehouse.fullname" -}}
{{- $name := include "gatehouse.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gatehouse.selector" -}}
app.kubernetes.io/name: {{ include "gatehouse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gatehouse.labels" -}}
{{ include "gatehouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gatehouse.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "gatehouse.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "gatehouse.secret" -}}
{{- .Values.secrets.existingSecret | default (include "gatehouse.fullname" .) -}}
{{- end -}}

{{/* The deployments, as JSON: the command, the parts in it, and the secrets that these read. */}}
{{- define "gatehouse.deployments" -}}
{{- $bff := list "secret" "oidc-client-secret" "oidc-client-key" "session-store" "denylist" -}}
{{- $server := list "database-url" "denylist" "introspection-client-secret" "introspection-client-key" -}}
{{- if eq .Values.topology "all" -}}
{{- dict "all" (list
  (dict "name" "bff" "command" "serve" "parts" (list "bff" "gateway" "server") "secrets" (concat $bff $server | uniq))) | toJson -}}
{{- else if eq .Values.topology "edge" -}}
{{- dict "all" (list
  (dict "name" "bff" "command" "serve" "parts" (list "bff" "gateway") "secrets" $bff)) | toJson -}}
{{- else -}}
{{- dict "all" (list
  (dict "name" "bff" "command" "bff" "parts" (list "bff") "secrets" $bff)
  (dict "name" "gateway" "command" "gateway" "parts" (list "gateway") "secrets" list)
  (dict "name" "server" "command" "server" "parts" (list "server") "secrets" $server)) | toJson -}}
{{- end -}}
{{- end -}}

{{/* The ports of the parts. */}}
{{- define "gatehouse.port" -}}
{{- get (dict "bff" 3000 "gateway" 5000 "server" 9090 "admin" 9100) . -}}
{{- end -}}

{{/* The largest number of replicas of a deployment, given its values. */}}
{{- define "gatehouse.replicas" -}}
{{- ternary .autoscaling.maxReplicas .replicas .autoscaling.enabled -}}
{{- end -}}

{{/* Fails for values that cannot work. */}}
{{- define "gatehouse.check" -}}
{{- range $name := list "base-url" "oidc-issuer" "oidc-client-id" "audience" -}}
{{- if not (get $.Values.settings $name) -}}
{{- fail (printf "settings.%s is missing" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "secret" "oidc-client-secret" "oidc-client-key" "session-store" "database-url" "denylist" "introspection-client-secret" "introspection-client-key" -}}
{{- range $settings := list $.Values.settings $.Values.bff.settings $.Values.gateway.settings $.Values.server.settings -}}
{{- if and (hasKey $settings $name) (not (has (get $settings $name) (list "memory:"))) -}}
{{- fail (printf "settings.%s is a secret; put it into the Secret that secrets.existingSecret names, and %s into secrets.keys" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int (include "gatehouse.replicas" .Values.bff)) 1) (not (has "session-store" .Values.secrets.keys)) -}}
{{- fail "several replicas of the bff need a session store that they share: add session-store to secrets.keys, or set bff.replicas to 1" -}}
{{- end -}}
{{- if not .Values.secrets.existingSecret -}}
{{- range $key := .Values.secrets.keys -}}
{{- if not (get $.Values.secrets.values $key) -}}
{{- fail (printf "secrets.values.%s is missing; set secrets.existingSecret to the name of a Secret with the keys %s" $key (join ", " $.Values.secrets.keys)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.topology "edge") (not .Values.grpcTarget) -}}
{{- fail "grpcTarget is missing; give the gRPC servers, such as dns:///api.shop.svc:9090" -}}
{{- end -}}
{{- end -}}

{{/* The settings of a deployment, as JSON. Those of values take precedence. */}}
{{- define "gatehouse.settings" -}}
{{- $root := .root -}}{{- $d := .deployment -}}
{{- $full := include "gatehouse.fullname" $root -}}
{{- $tls := $root.Values.tls.existingSecret -}}
{{- $s := dict
  "log-format" "json"
  "listen-admin" (printf ":%s" (include "gatehouse.port" "admin"))
  "lame-duck" (printf "%ds" (int $root.Values.lameDuck))
  "shutdown-timeout" (printf "%ds" (int $root.Values.shutdownTimeout)) -}}
{{- range $part := $d.parts -}}
{{- $_ := set $s (printf "listen-%s" (ternary "grpc" $part (eq $part "server"))) (printf ":%s" (include "gatehouse.port" $part)) -}}
{{- end -}}
{{- if has "bff" $d.parts -}}
{{- $_ := set $s "replicas" (include "gatehouse.replicas" $root.Values.bff) -}}
{{- $_ := set $s "refresh-timeout" (printf "%ds" (int $root.Values.refreshTimeout)) -}}
{{- end -}}
{{- if eq $d.command "bff" -}}
{{- $_ := set $s "gateway-url" (printf "%s://%s-gateway:%s" (ternary "https" "http" (ne $tls "")) $full (include "gatehouse.port" "gateway")) -}}
{{- end -}}
{{- if eq $d.command "gateway" -}}
{{- $_ := set $s "grpc-target" (printf "dns:///%s-server:%s" $full (include "gatehouse.port" "server")) -}}
{{- else if eq $root.Values.topology "edge" -}}
{{- $_ := set $s "grpc-target" $root.Values.grpcTarget -}}
{{- end -}}
{{- if and $tls (ne $root.Values.topology "all") -}}
{{- $crt := "/etc/gatehouse/tls/tls.crt" -}}{{- $key := "/etc/gatehouse/tls/tls.key" -}}{{- $ca := "/etc/gatehouse/tls/ca.crt" -}}
{{- if ne $d.command "server" -}}
{{- $_ := merge $s (dict "tls-client-cert-file" $crt "tls-client-key-file" $key) -}}
{{- $_ := set $s (ternary "gateway-ca-file" "grpc-ca-file" (eq $d.command "bff")) $ca -}}
{{- end -}}
{{- if eq $d.command "gateway" -}}
{{- $_ := merge $s (dict "gateway-tls-cert-file" $crt "gateway-tls-key-file" $key "gateway-client-ca-file" $ca) -}}
{{- else if eq $d.command "server" -}}
{{- $_ := merge $s (dict "grpc-tls-cert-file" $crt "grpc-tls-key-file" $key "grpc-client-ca-file" $ca) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := merge (dict) (get $root.Values $d.name).settings $root.Values.settings -}}
{{- if not (kindIs "slice" $value) -}}
{{- $_ := set $s $name (toString $value) -}}
{{- else if kindIs "map" (first $value) -}}
{{- $_ := set $s $name (toJson $value) -}}
{{- else -}}
{{- $_ := set $s $name (join "," $value) -}}
{{- end -}}
{{- end -}}
{{- $s | toJson -}}
{{- end -}}
