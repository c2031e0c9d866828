output "key_arn" {
  description = "The key's ARN: what belongs into IAM policies and into KMS_ALLOWED_KEYS."
  value       = aws_kms_replica_key.this.arn
}

output "key_id" {
  description = "The key's id."
  value       = aws_kms_replica_key.this.key_id
}

output "alias_name" {
  description = "The alias, for people and for KMS_KEY_ID where the key should be exchangeable without a change of configuration; null with with_alias = false."
  value       = one(aws_kms_alias.this[*].name)
}

output "alias_arn" {
  description = "The alias's ARN; null with with_alias = false."
  value       = one(aws_kms_alias.this[*].arn)
}

output "key_policy" {
  description = "The key policy, as JSON."
  value       = module.policies.key_policy
}
