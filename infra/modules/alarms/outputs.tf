output "topic_arn" {
  description = "The SNS topic that critical alarms publish to: the module's own, or the caller's."
  value       = local.topics["critical"]

  depends_on = [aws_sns_topic_policy.alarms]
}

output "topic_arns" {
  description = "The SNS topics by severity."
  value       = local.topics

  depends_on = [aws_sns_topic_policy.alarms]
}

output "topic_key_arn" {
  description = "ARN of the key that seals the module's own topic; null where it makes none."
  value       = one(aws_kms_key.topic[*].arn)
}

output "alarm_names" {
  description = "The names of all alarms."
  value = sort(concat(
    values(aws_cloudwatch_metric_alarm.errors)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.rate)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.volume)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.audit)[*].alarm_name,
    aws_cloudwatch_metric_alarm.latency[*].alarm_name,
    aws_cloudwatch_metric_alarm.latency_above_baseline[*].alarm_name,
    aws_cloudwatch_metric_alarm.cache_hit_rate[*].alarm_name,
    aws_cloudwatch_metric_alarm.heartbeat[*].alarm_name,
  ))
}

output "dashboard_names" {
  description = "The names of the two dashboards. They are global in an account: a second Region needs a name of its own."
  value       = values(aws_cloudwatch_dashboard.this)[*].dashboard_name
}

output "environment" {
  description = "Further variables of the programs, so that the alarms have data: one line of metrics a minute, under the dimensions that the alarms look at."
  value = {
    EMF_DIMENSIONS = join(",", [for name, value in local.emf_dimensions : "${name}=${value}"])
    EMF_METRICS    = "1m"
  }
}
