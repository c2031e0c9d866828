# Rotation on a schedule, and the alarm and rules for rotations that failed or did not happen.
resource "aws_lambda_permission" "rotation" {
  for_each = var.rotation_lambda_arns

  statement_id   = "${replace(each.key, "/[^A-Za-z0-9_-]/", "-")}-rotation"
  action         = "lambda:InvokeFunction"
  function_name  = each.value
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
  source_arn     = aws_secretsmanager_secret.this[each.key].arn
}

resource "aws_secretsmanager_secret_rotation" "this" {
  # checkov:skip=CKV_AWS_304:the period comes from the kind of secret, 30 or 90 days, unless the caller says otherwise
  for_each = var.rotation_lambda_arns

  secret_id           = aws_secretsmanager_secret.this[each.key].id
  rotation_lambda_arn = each.value

  rotation_rules {
    automatically_after_days = local.rotation_days[each.key]
  }

  depends_on = [aws_lambda_permission.rotation]
}

resource "aws_cloudwatch_metric_alarm" "rotation_failed" {
  count = var.with_alarms ? 1 : 0

  alarm_name          = "${local.name}-SecretsRotationFailed"
  alarm_description   = "A rotation failed or was given up; the previous value is still in use. Runbook: ${local.runbooks}/rotation-failed.md"
  namespace           = var.audit_namespace
  metric_name         = "SecretsRotationFailed"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarm_topic_arn]
  tags                = local.tags
}

# The rules run on a schedule and so look at every secret of the account; the event patterns pick ours.
resource "aws_config_config_rule" "overdue" {
  for_each = local.watched_schedules

  name             = "${local.name}-secrets-overdue-${each.value}d"
  description      = "Secrets were rotated within ${each.value} days. Runbook: ${local.runbooks}/rotation-overdue.md"
  input_parameters = jsonencode({ maxDaysSinceRotation = tostring(tonumber(each.value) + var.rotation_grace_days) })
  tags             = local.tags

  source {
    owner             = "AWS"
    source_identifier = "SECRETSMANAGER_SECRET_PERIODIC_ROTATION"
  }
}

resource "aws_cloudwatch_event_rule" "overdue" {
  for_each = local.watched_schedules

  name        = "${local.name}-secrets-overdue-${each.value}d"
  description = "A secret of ${local.name} is older than its ${each.value} days. Runbook: ${local.runbooks}/rotation-overdue.md"
  tags        = local.tags

  event_pattern = jsonencode({
    source      = ["aws.config"]
    detail-type = ["Config Rules Compliance Change"]
    detail = {
      configRuleName      = [aws_config_config_rule.overdue[each.key].name]
      resourceId          = [for name, secret in aws_secretsmanager_secret.this : secret.arn if tostring(local.rotation_days[name]) == each.value]
      newEvaluationResult = { complianceType = ["NON_COMPLIANT"] }
    }
  })
}

resource "aws_cloudwatch_event_target" "overdue" {
  for_each = local.watched_schedules

  rule = aws_cloudwatch_event_rule.overdue[each.key].name
  arn  = var.alarm_topic_arn
}
