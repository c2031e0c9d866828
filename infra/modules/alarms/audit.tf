# Alarms on CloudTrail's events, counted by the filters of module audit-trail.
locals {
  audit_alarms = { for name, alarm in {
    KMSUnauthorized = {
      description = "KMS denied a request: somebody tries a key that is not theirs, or a policy has broken."
      runbook     = "kms-unauthorized"
    }
    KMSKeyAtRisk = {
      description = "A key was disabled, or its deletion was scheduled. What it wraps stops opening now, or is lost for good when the window ends."
      runbook     = "kms-key-at-risk"
    }
    KMSKeyChanged = {
      description = "A key's policy, grants, alias or rotation was changed."
      runbook     = "kms-key-changed"
    }
    AuditTampering = {
      description = "The trail, its log group, its filters or these alarms were changed."
      runbook     = "audit-tampering"
    }
    SecretsAtRisk = {
      description = "A secret was deleted, left without rotation, or its policy was changed."
      runbook     = "secrets-at-risk"
    }
  } : name => alarm if var.with_audit_alarms }

  audit_volume_alarms = { for name, alarm in {
    KMSDecryptCallsAnomalous = {
      description = "Somebody, not necessarily the application, decrypts far more than usual."
      runbook     = "kms-decrypts-anomalous"
      namespace   = var.audit_namespace
      metric      = "KMSDecryptCalls"
      statistic   = "Sum"
      dimensions  = {}
    }
    SecretReadCallsAnomalous = {
      description = "Somebody, not necessarily the application, reads far more secrets than usual."
      runbook     = "secret-reads-anomalous"
      namespace   = var.audit_namespace
      metric      = "SecretReadCalls"
      statistic   = "Sum"
      dimensions  = {}
    }
  } : name => alarm if var.with_audit_alarms }
}

resource "aws_cloudwatch_metric_alarm" "audit" {
  for_each = local.audit_alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${var.runbook_base_url}/${each.value.runbook}.md"
  namespace           = var.audit_namespace
  metric_name         = each.key
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}
