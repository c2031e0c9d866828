output "environment" {
  description = "The environment variables of the programs."
  value       = module.access.environment
}

output "service_account_annotations" {
  description = "The annotations of the service account."
  value       = module.access.service_account_annotations
}
