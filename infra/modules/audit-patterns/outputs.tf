output "filters" {
  description = "The filters by name: the metric that each feeds, its pattern, and what the metric counts."
  value       = local.filters
}

output "metrics" {
  description = "The metrics by name, and what each counts."
  value       = { for name, entry in local.metrics : name => entry.description }
}
