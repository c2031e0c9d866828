# A service that only reads tokens.
path "transit/keys/tokens" {
  capabilities = ["read"]
}

path "transit/decrypt/tokens" {
  capabilities = ["update"]
}
