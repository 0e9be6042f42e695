#!/bin/sh
# In the container `setup`: certificates, keys, and who owns which volume. What is there and
# good stays; certificates are renewed in the last third of their life.
set -eu
umask 077
workspace=10001:10001

# FILE OWNER MODE TO: replaced in one step, for those who read it meanwhile.
put() {
  cmp -s "$1" "$4" && return
  cp "$1" "$4.new"
  chown "$2" "$4.new"
  chmod "$3" "$4.new"
  mv "$4.new" "$4"
}

# FOLDER OWNER MODE
own() {
  chown "$2" "$1"
  chmod "$3" "$1"
}

# Names: each service's own, and where people come. Stores get theirs as no service: `relay` calls
# nobody, so its name means nothing to others.
wm certs /authority --name "${WM_HOST:-localhost}" --process postgres=relay \
  --process azure=relay --dns azure=azurite > /tmp/told
sed '/^$/,$d' /tmp/told
for target in identity project storage sync gateway azure; do
  [ -d "/volumes/$target" ] || continue  # of compose.azure.yaml
  own "/volumes/$target" "$workspace" 0700
  # The key last: a pair that does not fit is not taken until it does.
  for file in ca.crt tls.crt tls.key; do
    put "/authority/$target/$file" "$workspace" 0400 "/volumes/$target/$file"
  done
done
own /volumes/postgres "0:$POSTGRES_GROUP" 0750
for file in tls.crt tls.key; do
  put "/authority/postgres/$file" "0:$POSTGRES_GROUP" 0640 "/volumes/postgres/$file"
done
own /volumes/trust 0:0 0755
put /authority/ca.crt 0:0 0444 /volumes/trust/ca.crt

python - <<'PYTHON'
from pathlib import Path

from services.secrets.key_files import install_keys, new_keys, read_keys

folder = Path("/volumes/keys")
made = install_keys(folder, {**new_keys(), **read_keys(folder)})
print(f"Key files: {'made ' + ', '.join(made) if made else 'kept'}.")
PYTHON
chown -R "$workspace" /volumes/keys
chmod 0700 /volumes/keys
for folder in /volumes/objects /volumes/dynamodb /volumes/azurite /volumes/wm; do
  [ ! -d "$folder" ] || own "$folder" "$workspace" 0700
done
