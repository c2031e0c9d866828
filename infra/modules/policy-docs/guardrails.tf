# Documents around the account: what leaves through VPC endpoints, and what no role of the account may do.
locals {
  endpoint = var.endpoint == null ? { key_arns = ["*"], secret_arns = [] } : var.endpoint

  # Only this account's principals, and only its keys: stolen credentials of another account cannot carry data out.
  kms_endpoint_statements = [{
    Sid       = "OwnKeysByOwnPrincipals"
    Effect    = "Allow"
    Principal = { AWS = "*" }
    Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
    Resource  = local.endpoint.key_arns
    Condition = { StringEquals = { "aws:PrincipalAccount" = var.account_id } }
  }]

  secrets_endpoint_statements = [
    {
      Sid       = "OwnSecretsByOwnPrincipals"
      Effect    = "Allow"
      Principal = { AWS = "*" }
      Action    = concat(["secretsmanager:CreateSecret"], local.operator_actions)
      Resource  = local.endpoint.secret_arns
      Condition = { StringEquals = { "aws:PrincipalAccount" = var.account_id } }
    },
    {
      # These name no secret: each secret of a batch must still be allowed above.
      Sid       = "ListsAndBatches"
      Effect    = "Allow"
      Principal = { AWS = "*" }
      Action    = ["secretsmanager:BatchGetSecretValue", "secretsmanager:GetRandomPassword", "secretsmanager:ListSecrets"]
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = var.account_id } }
    },
  ]

  guardrails         = var.guardrails == null ? { break_glass_roles = ["*"], key_arns = [], trail_arns = [], log_group_arns = [], alarm_arns = [], topic_arns = [] } : var.guardrails
  except_break_glass = { ArnNotLike = { "aws:PrincipalArn" = local.guardrails.break_glass_roles } }

  guardrail_statements = concat(
    [for statement in [
      {
        Sid       = "KeysStay"
        Effect    = "Deny"
        Action    = ["kms:DeleteImportedKeyMaterial", "kms:DisableKey", "kms:DisableKeyRotation", "kms:ReplicateKey", "kms:ScheduleKeyDeletion", "kms:UpdatePrimaryRegion"]
        Resource  = local.guardrails.key_arns
        Condition = local.except_break_glass
      },
      {
        Sid       = "TrailsStay"
        Effect    = "Deny"
        Action    = ["cloudtrail:DeleteTrail", "cloudtrail:PutEventSelectors", "cloudtrail:StopLogging", "cloudtrail:UpdateTrail"]
        Resource  = local.guardrails.trail_arns
        Condition = local.except_break_glass
      },
      {
        Sid       = "LogsStay"
        Effect    = "Deny"
        Action    = ["logs:DeleteLogGroup", "logs:DeleteLogStream", "logs:DeleteMetricFilter", "logs:DeleteRetentionPolicy", "logs:PutMetricFilter", "logs:PutRetentionPolicy"]
        Resource  = local.guardrails.log_group_arns
        Condition = local.except_break_glass
      },
      {
        Sid       = "AlarmsStay"
        Effect    = "Deny"
        Action    = ["cloudwatch:DeleteAlarms", "cloudwatch:DisableAlarmActions", "cloudwatch:PutMetricAlarm", "cloudwatch:SetAlarmState"]
        Resource  = local.guardrails.alarm_arns
        Condition = local.except_break_glass
      },
      {
        Sid       = "TopicsStay"
        Effect    = "Deny"
        Action    = ["sns:DeleteTopic", "sns:RemovePermission", "sns:SetTopicAttributes"]
        Resource  = local.guardrails.topic_arns
        Condition = local.except_break_glass
      },
    ] : statement if length(statement.Resource) > 0],
    # A key whose policy excludes its own account cannot be repaired by anyone but AWS's support.
    [{
      Sid       = "NoKeyWithoutItsAccount"
      Effect    = "Deny"
      Action    = ["kms:CreateKey", "kms:PutKeyPolicy"]
      Resource  = "*"
      Condition = { Bool = { "kms:BypassPolicyLockoutSafetyCheck" = "true" } }
    }],
  )
}
