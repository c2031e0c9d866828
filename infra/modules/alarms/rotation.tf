# A key whose rotation is off is a state, not an event, and no metric shows it: AWS Config looks at it. The change itself
# (DisableKeyRotation) is in KMSKeyChanged. The rule runs on a schedule and so looks at every key of the account; the event
# pattern picks ours.
locals {
  rotation_rule = "${local.name}-kms-rotation-overdue"
}

resource "aws_config_config_rule" "rotation" {
  count = var.with_config_rules ? 1 : 0

  name        = local.rotation_rule
  description = "Keys rotate. Runbook: ${local.runbooks}/rotation-overdue.md"

  source {
    owner             = "AWS"
    source_identifier = "CMK_BACKING_KEY_ROTATION_ENABLED"
  }

  tags = local.tags
}

resource "aws_cloudwatch_event_rule" "rotation" {
  count = var.with_config_rules ? 1 : 0

  name        = local.rotation_rule
  description = "A key of ${local.name} does not rotate. Runbook: ${local.runbooks}/rotation-overdue.md"
  tags        = local.tags

  event_pattern = jsonencode({
    source      = ["aws.config"]
    detail-type = ["Config Rules Compliance Change"]
    detail = {
      configRuleName      = [local.rotation_rule]
      resourceId          = [for arn in var.key_arns : split("/", arn)[1]]
      newEvaluationResult = { complianceType = ["NON_COMPLIANT"] }
    }
  })
}

resource "aws_cloudwatch_event_target" "rotation" {
  count = var.with_config_rules ? 1 : 0

  rule = aws_cloudwatch_event_rule.rotation[0].name
  arn  = local.topics["warning"]
}
