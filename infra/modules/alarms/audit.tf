# Alarms on CloudTrail's events, counted by the filters of module audit-trail.
locals {
  audit_alarms = { for name, alarm in {
    KMSUnauthorized = {
      description = "KMS denied a request with one of our keys, or by one of our roles: a caller without the right tries, or a policy is broken."
      runbook     = "kms-unauthorized"
    }
    KMSKeyAtRisk = {
      description = "One of our keys was disabled, replicated or moved, or its deletion was scheduled. Values under it stop opening now, or are lost for good when the window ends."
      runbook     = "kms-key-at-risk"
    }
    KMSKeyChanged = {
      description = "The policy, grants, alias or rotation of one of our keys was changed, or a role that uses it."
      runbook     = "kms-key-changed"
    }
    AuditTampering = {
      description = "The trail, its log group, role, bucket or filters, or these alarms, their topic or rules were changed."
      runbook     = "audit-tampering"
    }
    SecretsAtRisk = {
      description = "One of our secrets was deleted, left without rotation, copied, moved to another key, or its policy was changed."
      runbook     = "secrets-at-risk"
    }
  } : name => alarm if var.with_audit_alarms && local.alarms[name].enabled }

  audit_volume_alarms = { for name, alarm in {
    KMSDecryptCallsAnomalous = {
      description = "Decrypts with our keys, by any caller, are far more than usual."
      runbook     = "kms-decrypts-anomalous"
      namespace   = var.audit_namespace
      metric      = "KMSDecryptCalls"
      statistic   = "Sum"
      dimensions  = {}
    }
    SecretReadCallsAnomalous = {
      description = "Reads of our secrets, by any caller, are far more than usual."
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
  alarm_description   = "${each.value.description} Runbook: ${local.runbooks}/${each.value.runbook}.md"
  namespace           = var.audit_namespace
  metric_name         = each.key
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms[each.key].actions
  tags                = merge(local.tags, { Severity = local.alarms[each.key].severity })
}
