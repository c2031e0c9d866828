output "environment" {
  description = "The environment variables of the programs, ready for a ConfigMap."
  value       = merge(module.access.environment, module.alarms.environment)
}

output "service_account_annotations" {
  description = "For each role, the annotations of its service account."
  value       = module.access.service_account_annotations
}

output "key_arn" {
  description = "ARN of the key."
  value       = module.key.key_arn
}

output "alias_name" {
  description = "The key's alias."
  value       = module.alias.alias_name
}

output "key_policy" {
  description = "The key's policy, as JSON."
  value       = module.key.key_policy
}

output "secrets_prefix" {
  description = "The value of manage-secrets' --prefix."
  value       = module.secrets.prefix
}

output "secrets_operator_policy" {
  description = "Identity policy for operators who run manage-secrets, as JSON."
  value       = module.secrets.operator_policy
}

output "rotation_function_policy" {
  description = "Identity policy for the roles of the rotation functions, as JSON."
  value       = module.secrets.rotation_function_policy
}

output "topic_arn" {
  description = "The SNS topic of the critical alarms."
  value       = module.alarms.topic_arn
}

output "alarm_names" {
  description = "The names of the alarms."
  value       = module.alarms.alarm_names
}
