output "environment" {
  description = "The environment variables of the programs."
  value       = module.access.environment
}
