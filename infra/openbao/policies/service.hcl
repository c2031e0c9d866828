# A service that reads and writes tokens: data keys are made and opened, and nothing else.
# The key is read because a key that is not derived would not bind the encryption context.
path "transit/keys/tokens" {
  capabilities = ["read"]
}

path "transit/datakey/plaintext/tokens" {
  capabilities = ["update"]
}

path "transit/decrypt/tokens" {
  capabilities = ["update"]
}
