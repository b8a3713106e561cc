/** Resilient service clients, health routes and problem documents for Effect HTTP. */
export * as HealthRoutes from "./HealthRoutes.ts"
export * as MetricsRoute from "./MetricsRoute.ts"
export * as Problem from "./Problem.ts"
export * as RequestDeadline from "./RequestDeadline.ts"
export * as ServiceClient from "./ServiceClient.ts"
export * as ServiceClients from "./ServiceClients.ts"
