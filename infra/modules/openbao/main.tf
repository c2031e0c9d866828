# The Transit key of the tokens, the policies, and the roles that log in with them. Works with OpenBao and with Vault.
module "policies" {
  source = "../openbao-policies"

  transit_mount = var.transit_mount
  key_name      = var.key_name
  kv_mount      = var.kv_mount
  secrets_path  = var.secrets_path
}

resource "vault_mount" "transit" {
  count = var.with_transit_mount ? 1 : 0

  path        = var.transit_mount
  type        = "transit"
  description = "Wraps the data keys of ${var.name}"
}

resource "vault_transit_secret_backend_key" "tokens" {
  backend = var.with_transit_mount ? vault_mount.transit[0].path : var.transit_mount
  name    = var.key_name
  type    = "aes256-gcm96"

  # Only a derived key binds the encryption context. None of these can be taken back once it is set.
  derived                = true
  convergent_encryption  = false
  exportable             = false
  allow_plaintext_backup = false

  # A key that was deleted opens nothing ever again.
  deletion_allowed       = false
  auto_rotate_period     = var.auto_rotate_period
  min_decryption_version = var.min_decryption_version
}

resource "vault_policy" "this" {
  for_each = module.policies.policies

  name   = "${var.name}-${each.key}"
  policy = each.value
}

resource "vault_approle_auth_backend_role" "this" {
  for_each = var.approles

  backend               = var.approle_mount
  role_name             = "${var.name}-${each.key}"
  token_policies        = [for policy in each.value.policies : vault_policy.this[policy].name]
  token_ttl             = each.value.token_ttl
  token_max_ttl         = each.value.token_max_ttl
  secret_id_ttl         = each.value.secret_id_ttl
  secret_id_bound_cidrs = each.value.cidrs
  token_bound_cidrs     = each.value.cidrs
}

resource "vault_kubernetes_auth_backend_role" "this" {
  for_each = var.kubernetes_roles

  backend                          = var.kubernetes_mount
  role_name                        = "${var.name}-${each.key}"
  bound_service_account_names      = [each.value.service_account]
  bound_service_account_namespaces = [each.value.namespace]
  audience                         = each.value.audience
  token_policies                   = [for policy in each.value.policies : vault_policy.this[policy].name]
  token_ttl                        = each.value.token_ttl
  token_max_ttl                    = each.value.token_max_ttl
}
