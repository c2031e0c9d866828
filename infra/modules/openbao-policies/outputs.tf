output "policies" {
  description = "The policies in HCL, by name: service, reader, migration, rotation, secrets-reader, secrets-writer."
  value       = local.policies
}

output "key_id" {
  description = "The value of KMS_KEY_ID."
  value       = "vault:${var.transit_mount}/${var.key_name}"
}

output "secrets_source" {
  description = "The value of manage-secrets' --source and of SECRETS_SOURCE."
  value       = "vault:${var.kv_mount}/${var.secrets_path}"
}
