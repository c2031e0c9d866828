# An operator of manage-secrets, `vault:secret/app`: stores, lists and deletes recoverably. It destroys nothing.
path "secret/data/app/*" {
  capabilities = ["create", "read", "update"]
}

path "secret/metadata/app/*" {
  capabilities = ["create", "list", "read", "update"]
}

path "secret/metadata/app" {
  capabilities = ["list"]
}

path "secret/delete/app/*" {
  capabilities = ["update"]
}
