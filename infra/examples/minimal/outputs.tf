output "environment" {
  description = "The environment variables of the programs."
  value = {
    AWS_REGION         = var.region
    ENCRYPTION_CONTEXT = module.policies.context_variable
    ENVIRONMENT        = var.environment
    KMS_ALLOWED_KEYS   = module.key.key_arn
    KMS_KEY_ID         = module.key.key_arn
  }
}

output "alias_name" {
  description = "The key's alias."
  value       = module.key.alias_name
}

output "policy_arn" {
  description = "The policy to attach to the application's role."
  value       = aws_iam_policy.application.arn
}
