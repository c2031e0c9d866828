# Patterns over CloudTrail's events, each limited to our own resources. A pattern has at most 1,024 characters (CloudWatch Logs), so
# one metric may have several filters: the first has the metric's name, the next are numbered.
locals {
  # For each metric its description, and its patterns.
  metrics = {
    KMSUnauthorized       = { description = "denied requests to KMS for our keys or by our roles", patterns = local.unauthorized }
    KMSKeyAtRisk          = { description = "our keys that were disabled, replicated, moved, or whose deletion was scheduled", patterns = local.key_at_risk }
    KMSKeyChanged         = { description = "changed policies, grants, aliases and rotation of our keys, and changed roles that use them", patterns = local.key_changed }
    KMSDecryptCalls       = { description = "decrypts and re-wraps with our keys, by any caller", patterns = local.decrypt_calls }
    AuditTampering        = { description = "changes to the trail, its log group, role and bucket, to the alarms, their topics and rules", patterns = local.tampering }
    SecretReadCalls       = { description = "reads of our secrets, by any caller", patterns = local.secret_reads }
    SecretsRotationFailed = { description = "rotations of our secrets that failed or were abandoned", patterns = local.rotation_failed }
    SecretsAtRisk         = { description = "our secrets that were deleted, left without rotation, copied, or opened to others", patterns = local.secrets_at_risk }
  }

  filters = merge([for metric, entry in local.metrics : {
    for index, pattern in entry.patterns : (index == 0 ? metric : "${metric}-${index + 1}") => {
      metric      = metric
      description = entry.description
      pattern     = "{ ${pattern} }"
    }
  }]...)
}

locals {
  # Every event name that a pattern looks for, by the group it is used in.
  events = {
    key_at_risk    = ["DisableKey", "ScheduleKeyDeletion", "ReplicateKey", "UpdatePrimaryRegion", "DeleteImportedKeyMaterial", "DeleteKey"]
    key_changed    = ["PutKeyPolicy", "CreateGrant", "DisableKeyRotation", "UpdateAlias", "DeleteAlias", "CreateAlias"]
    alias          = ["UpdateAlias", "DeleteAlias", "CreateAlias"]
    decrypt        = ["Decrypt", "ReEncrypt"]
    role           = ["PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy", "UpdateAssumeRolePolicy", "DeleteRole", "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary"]
    trail          = ["StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors", "PutInsightSelectors"]
    log_group      = ["DeleteMetricFilter", "PutMetricFilter", "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "DeleteRetentionPolicy", "AssociateKmsKey", "DisassociateKmsKey", "PutSubscriptionFilter", "PutDataProtectionPolicy"]
    alarm          = ["PutMetricAlarm", "PutCompositeAlarm", "SetAlarmState"]
    alarms         = ["DeleteAlarms", "DisableAlarmActions"]
    topic          = ["DeleteTopic", "SetTopicAttributes", "AddPermission", "RemovePermission", "Unsubscribe", "SetSubscriptionAttributes"]
    event_rule     = ["DeleteRule", "DisableRule", "PutRule", "PutTargets", "RemoveTargets"]
    config_rule    = ["DeleteConfigRule", "PutConfigRule"]
    bucket         = ["DeleteBucket", "DeleteBucketPolicy", "PutBucketPolicy", "PutBucketLifecycle", "DeleteBucketLifecycle", "PutBucketVersioning", "PutBucketPublicAccessBlock", "DeleteBucketPublicAccessBlock", "PutObjectLockConfiguration"]
    secret_at_risk = ["DeleteSecret", "CancelRotateSecret", "PutResourcePolicy", "DeleteResourcePolicy", "ReplicateSecretToRegions", "RemoveRegionsFromReplication", "StopReplicationToReplica"]
    rotation       = ["RotationFailed", "RotationAbandoned"]
  }

  # For each group: one of its events.
  any = { for group, names in local.events : group => "(${join(" || ", [for name in names : "($.eventName = \"${name}\")"])})" }

  from = { for service in ["kms", "secretsmanager", "cloudtrail", "logs", "monitoring", "sns", "events", "config", "iam", "s3"] :
    service => "($.eventSource = \"${service}.amazonaws.com\")"
  }
}
