output "filters" {
  description = "The filters: for each metric's name, the pattern that feeds it and what it counts."
  value       = local.filters
}
