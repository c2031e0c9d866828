# Events about what watches: the trail and its logs, the alarms and their topics. Left out (null), any trail, group or alarm counts.
locals {
  pin = {
    trail = var.trail_name == null ? "" : " && (${join(" || ", flatten([for field in ["name", "trailName"] : [
      "($.requestParameters.${field} = \"${var.trail_name}\")", "($.requestParameters.${field} = \"*:trail/${var.trail_name}\")",
    ]]))})"
    log_group = var.log_group_name == null ? "" : " && (($.requestParameters.logGroupName = \"${var.log_group_name}\") || ($.requestParameters.logGroupIdentifier = \"*${var.log_group_name}\"))"
    alarm     = var.alarm_prefix == null ? "" : " && ($.requestParameters.alarmName = \"${var.alarm_prefix}*\")"

    # A pattern looks at named places of a list only. A request for more than three alarms at once is always counted.
    alarms = var.alarm_prefix == null ? "" : " && (${join(" || ", concat(
      [for index in range(3) : "($.requestParameters.alarmNames[${index}] = \"${var.alarm_prefix}*\")"],
      ["($.requestParameters.alarmNames[3] = \"*\")"],
    ))})"
    event_rule  = var.alarm_prefix == null ? "" : " && (($.requestParameters.name = \"${var.alarm_prefix}*\") || ($.requestParameters.rule = \"${var.alarm_prefix}*\"))"
    config_rule = var.alarm_prefix == null ? "" : " && (($.requestParameters.configRuleName = \"${var.alarm_prefix}*\") || ($.requestParameters.configRule.configRuleName = \"${var.alarm_prefix}*\"))"
  }

  tampering = concat(
    [
      "${local.from.cloudtrail} && ${local.any.trail}${local.pin.trail}",
      "${local.from.logs} && ${local.any.log_group}${local.pin.log_group}",
      "${local.from.monitoring} && ((${local.any.alarm}${local.pin.alarm}) || (${local.any.alarms}${local.pin.alarms}))",
      "((${local.from.events} && ${local.any.event_rule}${local.pin.event_rule}) || (${local.from.config} && ${local.any.config_rule}${local.pin.config_rule}))",
    ],
    length(var.topic_arns) == 0 ? ["${local.from.sns} && ${local.any.topic}"] : [for arns in chunklist(var.topic_arns, 1) :
      "${local.from.sns} && ${local.any.topic} && (${join(" || ", flatten([for arn in arns : [
        "($.requestParameters.topicArn = \"${arn}\")", "($.requestParameters.subscriptionArn = \"${arn}:*\")",
      ]]))})"
    ],
    [for names in chunklist(var.trail_role_names, 3) :
      "${local.from.iam} && ${local.any.role} && (${join(" || ", [for name in names : "($.requestParameters.roleName = \"${name}\")"])})"
    ],
    [for names in chunklist(var.log_bucket_names, 3) :
      "${local.from.s3} && ${local.any.bucket} && (${join(" || ", [for name in names : "($.requestParameters.bucketName = \"${name}\")"])})"
    ],
  )
}
