# The job that rotates the key. It opens nothing.
path "transit/keys/tokens" {
  capabilities = ["read"]
}

path "transit/keys/tokens/rotate" {
  capabilities = ["update"]
}
