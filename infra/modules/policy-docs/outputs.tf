locals {
  version = "2012-10-17"
}

output "key_policy" {
  description = "Policy of the application's key; null unless key is given."
  value       = var.key == null ? null : jsonencode({ Version = local.version, Statement = local.key_statements })
}

output "application_policy" {
  description = "Identity policy of the application: generate and open data keys under its context; null unless use is given."
  value       = var.use == null ? null : jsonencode({ Version = local.version, Statement = local.application_statements })
}

output "migrator_policy" {
  description = "Identity policy of the migrator: the application's rights and re-wrapping; null unless use is given."
  value       = var.use == null ? null : jsonencode({ Version = local.version, Statement = local.migrator_statements })
}

output "secrets_reader_policy" {
  description = "Identity policy of readers of the secrets; null unless secrets is given."
  value       = var.secrets == null ? null : jsonencode({ Version = local.version, Statement = local.secrets_reader_statements })
}

output "secrets_operator_policy" {
  description = "Identity policy of operators, who write, import and rotate the secrets by hand; null unless secrets is given."
  value       = var.secrets == null ? null : jsonencode({ Version = local.version, Statement = local.secrets_operator_statements })
}

output "rotation_function_policy" {
  description = "Identity policy of the rotation function; null unless secrets is given."
  value       = var.secrets == null ? null : jsonencode({ Version = local.version, Statement = local.rotation_statements })
}

output "secret_resource_policy" {
  description = "Resource policy of each secret; null unless secrets is given."
  value       = var.secrets == null ? null : jsonencode({ Version = local.version, Statement = local.secret_resource_statements })
}

output "secrets_key_policy" {
  description = "Policy of the key that encrypts the secrets."
  value       = jsonencode({ Version = local.version, Statement = local.secrets_key_statements })
}

output "kms_endpoint_policy" {
  description = "Policy of a VPC endpoint for KMS: only this account's principals and these keys; null unless endpoint is given."
  value       = var.endpoint == null ? null : jsonencode({ Version = local.version, Statement = local.kms_endpoint_statements })
}

output "secrets_endpoint_policy" {
  description = "Policy of a VPC endpoint for Secrets Manager; null unless endpoint names secrets."
  value       = length(local.endpoint.secret_arns) == 0 ? null : jsonencode({ Version = local.version, Statement = local.secrets_endpoint_statements })
}

output "service_control_policy" {
  description = "Service control policy: only the break-glass roles stop keys, trails, logs and alarms; null unless guardrails is given."
  value       = var.guardrails == null ? null : jsonencode({ Version = local.version, Statement = local.guardrail_statements })
}

output "irsa_trust" {
  description = "Trust policy for IAM roles for service accounts; null unless irsa is given."
  value       = var.irsa == null ? null : jsonencode({ Version = local.version, Statement = local.irsa_statements })
}

output "pod_identity_trust" {
  description = "Trust policy for EKS Pod Identity; null unless pod_identity is given."
  value       = var.pod_identity == null ? null : jsonencode({ Version = local.version, Statement = local.pod_identity_statements })
}

output "topic_policy" {
  description = "Policy of the alarms' SNS topic; null unless topic_arn is given."
  value       = var.topic_arn == null ? null : jsonencode({ Version = local.version, Statement = local.topic_statements })
}

output "topic_key_policy" {
  description = "Policy of the key that encrypts the alarms' topic."
  value       = jsonencode({ Version = local.version, Statement = local.topic_key_statements })
}

output "trail_key_policy" {
  description = "Policy of the key that encrypts the trail and its log group; null unless trail is given."
  value       = var.trail == null ? null : jsonencode({ Version = local.version, Statement = local.trail_key_statements })
}

output "trail_bucket_policy" {
  description = "Policy of the bucket that keeps the trail's logs; null unless trail is given."
  value       = var.trail == null ? null : jsonencode({ Version = local.version, Statement = local.bucket_statements })
}

output "trail_role_trust" {
  description = "Trust policy of the role with which the trail writes to its log group; null unless trail is given."
  value       = var.trail == null ? null : jsonencode({ Version = local.version, Statement = local.trail_role_trust_statements })
}

output "trail_role_policy" {
  description = "Identity policy of that role; null unless trail is given."
  value       = var.trail == null ? null : jsonencode({ Version = local.version, Statement = local.trail_role_statements })
}

output "context_variable" {
  description = "The value of ENCRYPTION_CONTEXT that fits these policies."
  value       = join(",", [for name, value in var.encryption_context : "${name}=${value}"])
}
