output "application_role_arn" {
  description = "ARN of the application's role."
  value       = aws_iam_role.application.arn
}

output "application_role_name" {
  description = "Name of the application's role."
  value       = aws_iam_role.application.name
}

output "migrator_role_arn" {
  description = "ARN of the migrator's role; null where there is none."
  value       = one(aws_iam_role.migrator[*].arn)
}

output "migrator_role_name" {
  description = "Name of the migrator's role; null where there is none."
  value       = one(aws_iam_role.migrator[*].name)
}

output "application_policy" {
  description = "The application's policy for the key, as JSON."
  value       = module.policies.application_policy
}

output "migrator_policy" {
  description = "The migrator's policy, as JSON."
  value       = module.policies.migrator_policy
}

output "service_account_annotations" {
  description = "For each role, the annotations of its Kubernetes service account; empty with Pod Identity, which needs none."
  value = {
    for role, arn in { application = aws_iam_role.application.arn, migrator = one(aws_iam_role.migrator[*].arn) } :
    role => var.identity == "irsa" ? { "eks.amazonaws.com/role-arn" = arn } : {} if arn != null
  }
}

output "environment" {
  description = "The environment variables that the programs read, ready for a ConfigMap."
  value = {
    AWS_REGION         = local.region
    ENCRYPTION_CONTEXT = module.policies.context_variable
    ENVIRONMENT        = coalesce(var.program_environment, var.environment)
    KMS_ALLOWED_KEYS   = join(",", local.all_key_arns)
    KMS_KEY_ID         = join(",", concat([var.key_arns[0]], var.replica_key_arns))
  }
}
