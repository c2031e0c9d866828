output "topic_arn" {
  description = "The SNS topic that every alarm publishes to."
  value       = aws_sns_topic.alarms.arn

  depends_on = [aws_sns_topic_policy.alarms]
}

output "alarm_names" {
  description = "The names of all alarms."
  value = sort(concat(
    values(aws_cloudwatch_metric_alarm.errors)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.volume)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.audit)[*].alarm_name,
    [
      aws_cloudwatch_metric_alarm.latency.alarm_name,
      aws_cloudwatch_metric_alarm.cache_hit_rate.alarm_name,
      aws_cloudwatch_metric_alarm.heartbeat.alarm_name,
    ],
  ))
}

output "dashboard_names" {
  description = "The names of the two dashboards."
  value       = values(aws_cloudwatch_dashboard.this)[*].dashboard_name
}

output "environment" {
  description = "What the programs need in their environment besides, so that the alarms have something to look at: one line of metrics a minute."
  value       = { EMF_METRICS = "1m" }
}
