# migrate-tokens: what a service may do, and rewrap. `encrypt` moves data keys from another Transit key; without the
# capability `create` it cannot make a key when a name is mistyped.
path "transit/keys/tokens" {
  capabilities = ["read"]
}

path "transit/datakey/plaintext/tokens" {
  capabilities = ["update"]
}

path "transit/decrypt/tokens" {
  capabilities = ["update"]
}

path "transit/rewrap/tokens" {
  capabilities = ["update"]
}

path "transit/encrypt/tokens" {
  capabilities = ["update"]
}
