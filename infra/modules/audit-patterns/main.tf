# Patterns over CloudTrail's events. A denied request may lack the key's ARN, so denials are not pinned to one.
locals {
  from_kms             = "($.eventSource = \"kms.amazonaws.com\")"
  from_secrets_manager = "($.eventSource = \"secretsmanager.amazonaws.com\")"

  own_keys = length(var.key_arns) == 0 ? "" : " && (${join(" || ", [for arn in var.key_arns : "($.resources[0].ARN = \"${arn}\")"])})"

  filters = {
    KMSUnauthorized = {
      description = "requests to KMS that were denied"
      pattern     = "{ ${local.from_kms} && ($.errorCode = \"AccessDenied*\") }"
    }
    KMSKeyAtRisk = {
      description = "keys that were disabled, or whose deletion was scheduled"
      pattern     = "{ ${local.from_kms} && (($.eventName = \"DisableKey\") || ($.eventName = \"ScheduleKeyDeletion\")) }"
    }
    KMSKeyChanged = {
      description = "key policies, grants, aliases and rotation that were changed"
      pattern     = "{ ${local.from_kms} && (($.eventName = \"PutKeyPolicy\") || ($.eventName = \"CreateGrant\") || ($.eventName = \"UpdateAlias\") || ($.eventName = \"DeleteAlias\") || ($.eventName = \"DisableKeyRotation\")) }"
    }
    KMSDecryptCalls = {
      description = "decrypts, by whoever makes them"
      pattern     = "{ ${local.from_kms} && ($.eventName = \"Decrypt\")${local.own_keys} }"
    }
    AuditTampering = {
      description = "changes to the trail, its log group, its filters or the alarms"
      pattern     = "{ (($.eventSource = \"cloudtrail.amazonaws.com\") && (($.eventName = \"StopLogging\") || ($.eventName = \"DeleteTrail\") || ($.eventName = \"UpdateTrail\") || ($.eventName = \"PutEventSelectors\"))) || (($.eventSource = \"logs.amazonaws.com\") && (($.eventName = \"DeleteMetricFilter\") || ($.eventName = \"DeleteLogGroup\") || ($.eventName = \"DeleteLogStream\"))) || (($.eventSource = \"monitoring.amazonaws.com\") && (($.eventName = \"DeleteAlarms\") || ($.eventName = \"DisableAlarmActions\"))) }"
    }
    SecretReadCalls = {
      description = "reads of secrets, by whoever makes them"
      pattern     = "{ ${local.from_secrets_manager} && (($.eventName = \"GetSecretValue\") || ($.eventName = \"BatchGetSecretValue\")) }"
    }
    SecretsRotationFailed = {
      description = "rotations that failed or were given up"
      pattern     = "{ ${local.from_secrets_manager} && (($.eventName = \"RotationFailed\") || ($.eventName = \"RotationAbandoned\")) }"
    }
    SecretsAtRisk = {
      description = "secrets that were deleted, left without rotation, or opened to others"
      pattern     = "{ ${local.from_secrets_manager} && (($.eventName = \"DeleteSecret\") || ($.eventName = \"CancelRotateSecret\") || ($.eventName = \"PutResourcePolicy\") || ($.eventName = \"DeleteResourcePolicy\")) }"
    }
  }
}
