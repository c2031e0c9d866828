# A service that reads its secrets, `vault:secret/app`.
path "secret/data/app/*" {
  capabilities = ["read"]
}

path "secret/metadata/app/*" {
  capabilities = ["read"]
}
