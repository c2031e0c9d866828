output "key_id" {
  description = "The value of KMS_KEY_ID."
  value       = module.policies.key_id
}

output "secrets_source" {
  description = "The value of manage-secrets' --source and of SECRETS_SOURCE."
  value       = module.policies.secrets_source
}

output "policy_names" {
  description = "The names of the policies on the server, by their short names."
  value       = { for name, policy in vault_policy.this : name => policy.name }
}

output "role_ids" {
  description = "The values of VAULT_ROLE_ID, by role. A secret id is made on the server, and never by Terraform, whose state would hold it."
  value       = { for name, role in vault_approle_auth_backend_role.this : name => role.role_id }
}

output "kubernetes_role_names" {
  description = "The values of VAULT_K8S_ROLE, by role."
  value       = { for name, role in vault_kubernetes_auth_backend_role.this : name => role.role_name }
}
