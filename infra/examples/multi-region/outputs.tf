output "environment" {
  description = "The environment variables of the programs: the nearer key wraps, either opens."
  value       = module.access.environment
}
