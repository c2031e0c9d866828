output "prefix" {
  description = "Prefix of every name: the value of manage-secrets' --prefix."
  value       = local.prefix
}

output "secret_arns" {
  description = "ARNs of the secrets, for module workload-access."
  value       = values(aws_secretsmanager_secret.this)[*].arn
}

output "key_arn" {
  description = "ARN of the key that seals the secrets."
  value       = aws_kms_key.secrets.arn
}

output "alias_name" {
  description = "That key's alias."
  value       = aws_kms_alias.secrets.name
}

output "reader_policy" {
  description = "Identity policy for readers of these secrets, as JSON; null without secrets."
  value       = module.policies.secrets_reader_policy
}

output "operator_policy" {
  description = "Identity policy for operators who run manage-secrets on this prefix, as JSON."
  value       = module.operator_policies.secrets_operator_policy
}

output "rotation_function_policy" {
  description = "Identity policy for the rotation functions' roles, as JSON; null without secrets."
  value       = module.policies.rotation_function_policy
}
