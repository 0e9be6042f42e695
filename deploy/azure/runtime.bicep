// Runtime of a workspace on the baseline, in the same resource group: an identity and its
// roles (the table in services/azure/permissions.py; a test compares), a vault for the keys,
// a topic for events, mail, and replicas on Container Apps that speak gRPC and HTTP on one
// name. Sign-in is registration.bicep, or `docs/guides/azure.md`.
targetScope = 'resourceGroup'

@description('dev, prod, ...; names and tags the resources.')
@minLength(1)
@maxLength(16)
param environmentName string = 'dev'

@description('Where all of it is, as the baseline.')
param location string = resourceGroup().location

@description('Storage account of the baseline.')
param storageAccountName string = 'workspacemanagedevdocs'

@description('Blob container of the baseline.')
param storageContainerName string = 'workspace-documents'

@description('Cosmos DB account of the baseline.')
param cosmosAccountName string = 'workspace-management-dev-cosmos'

@description('Database of the baseline.')
param cosmosDatabaseName string = 'workspace'

@description('Container of the records of the baseline.')
param cosmosContainerName string = 'workspace_items'

@description('The image of the workspace, with `wm` on its PATH, by its digest: REGISTRY.azurecr.io/workspace@sha256:... A tag may name other bytes tomorrow, and what runs here has the rights of the identity.')
param image string

@description('Caddy 2, a copy in your own registry, by its digest: REGISTRY.azurecr.io/caddy@sha256:...')
param frontImage string

@description('Azure Container Registry of the images; empty where anybody may pull them.')
param registryName string = ''

@description('Resource group of that registry.')
param registryResourceGroup string = resourceGroup().name

@description('Directory of the people who sign in: its tenant, a GUID.')
@minLength(36)
@maxLength(36)
param entraTenantId string

@description('Applications of that directory whose tokens are taken, as GUID,GUID.')
@minLength(36)
param entraClientIds string

@description('Whether that directory is an External ID tenant (ciamlogin.com).')
param entraExternal bool = true

@description('The name people use, as workspace.example.com; empty for that of Container Apps.')
param domainName string = ''

@description('Identifier of the certificate of domainName in the environment of Container Apps.')
param certificateId string = ''

@description('The domain that mail comes from; empty for one of Azure, good for trials.')
param mailDomain string = ''

@description('True once the DNS records of mailDomain are verified: only then it can be used.')
param mailDomainVerified bool = false

@description('Where mail and its log lie at rest.')
param mailDataLocation string = 'Europe'

@description('Key Vault; names are worldwide and are kept for 90 days after deletion.')
@minLength(3)
@maxLength(24)
param vaultName string = 'wm-${uniqueString(resourceGroup().id, environmentName)}'

@description('Also make an App Configuration store, for settings that are references into it.')
param withConfiguration bool = false

@description('Its price tier.')
@allowed([
  'developer'
  'standard'
])
param configurationSku string = 'developer'

@description('Least that is logged.')
@allowed([
  'debug'
  'info'
  'warning'
  'error'
])
param logLevel string = 'info'

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('Replicas that always run.')
@minValue(1)
param leastReplicas int = 2

@description('Replicas that run at most.')
@minValue(1)
param mostReplicas int = 6

@description('Issuer of a Kubernetes cluster whose pods are this identity too; empty for none.')
param federatedIssuer string = ''

@description('Who in that cluster, as system:serviceaccount:NAMESPACE:NAME.')
param federatedSubject string = ''

@description('Role that reads and writes the keys in the vault, a GUID: Key Vault Secrets Officer, which may delete secrets too, or the narrower one of roles.bicep.')
param keysRoleId string = 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'

@description('Role that sends mail, a GUID: Communication and Email Service Owner, the only one of Azure, which may also delete the resource and read its access keys, or the narrower one of roles.bicep.')
param mailRoleId string = '09976791-48a7-449e-bb21-39d1a415f350'

var name = 'workspace-${environmentName}'
var tags = {
  Application: 'workspace-management'
  Environment: environmentName
}
var clouds = {
  AzureCloud: 'public'
  AzureUSGovernment: 'usgovernment'
  AzureChinaCloud: 'china'
}
var hostName = empty(domainName) ? '${name}.${containerEnvironment.properties.defaultDomain}' : domainName
var mailLinked = empty(mailDomain) || mailDomainVerified
var frontPort = 8000
var pinnedImage = contains(image, '@sha256:') ? image : fail('image: name it by its digest, as REGISTRY.azurecr.io/workspace@sha256:...')
var pinnedFront = contains(frontImage, '@sha256:') ? frontImage : fail('frontImage: name it by its digest, as REGISTRY.azurecr.io/caddy@sha256:...')

// The baseline
resource storageAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: storageAccount
  name: 'default'
}

resource storageContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobService
  name: storageContainerName
}

resource cosmosAccount 'Microsoft.DocumentDB/databaseAccounts@2024-11-15' existing = {
  name: cosmosAccountName
}

// Who the replicas are
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

resource federation 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = if (!empty(federatedIssuer)) {
  parent: identity
  name: 'kubernetes'
  properties: {
    issuer: federatedIssuer
    subject: federatedSubject
    audiences: [
      'api://AzureADTokenExchange'
    ]
  }
}

// Keys: the first replica that starts fills the secret, all others take what is there. The
// template makes no secret: to deploy again would write a new version of it.
resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: vaultName
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: 'Enabled'
  }
}

resource configurationStore 'Microsoft.AppConfiguration/configurationStores@2024-06-01' = if (withConfiguration) {
  name: vaultName
  location: location
  tags: tags
  sku: {
    name: configurationSku
  }
  properties: {
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
  }
}

// Events
resource eventTopic 'Microsoft.EventGrid/topics@2025-02-15' = {
  name: 'workspace-management-${environmentName}'
  location: location
  tags: tags
  properties: {
    inputSchema: 'CloudEventSchemaV1_0'
    disableLocalAuth: true
    minimumTlsVersionAllowed: '1.2'
    publicNetworkAccess: 'Enabled'
  }
}

// Mail
resource emailService 'Microsoft.Communication/emailServices@2025-05-01' = {
  name: '${name}-${uniqueString(resourceGroup().id)}'
  location: 'global'
  tags: tags
  properties: {
    dataLocation: mailDataLocation
  }
}

resource emailDomain 'Microsoft.Communication/emailServices/domains@2025-05-01' = {
  parent: emailService
  name: empty(mailDomain) ? 'AzureManagedDomain' : mailDomain
  location: 'global'
  tags: tags
  properties: {
    domainManagement: empty(mailDomain) ? 'AzureManaged' : 'CustomerManaged'
    userEngagementTracking: 'Disabled'
  }
}

resource communication 'Microsoft.Communication/communicationServices@2025-05-01' = {
  name: '${name}-${uniqueString(resourceGroup().id)}'
  location: 'global'
  tags: tags
  properties: {
    dataLocation: mailDataLocation
    disableLocalAuth: true
    linkedDomains: mailLinked ? [
      emailDomain.id
    ] : []
  }
}

// Roles: those of services/azure/permissions.py; a test compares.
resource recordsRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-11-15' = {
  parent: cosmosAccount
  name: guid(cosmosAccount.id, identity.id, 'Records')
  properties: {
    principalId: identity.properties.principalId
    roleDefinitionId: '${cosmosAccount.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002'
    scope: cosmosAccount.id
  }
}

resource objectsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storageContainer
  name: guid(storageContainer.id, identity.id, 'Objects')
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  }
}

resource signingRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storageAccount
  name: guid(storageAccount.id, identity.id, 'Signing')
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a')
  }
}

resource keysRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, identity.id, 'Keys', keysRoleId)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keysRoleId)
  }
}

resource settingsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (withConfiguration) {
  scope: configurationStore
  name: guid(configurationStore.id, identity.id, 'Settings')
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '516239f1-63e1-4d78-a4de-a74fb236a071')
  }
}

resource eventsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: eventTopic
  name: guid(eventTopic.id, identity.id, 'Events')
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7')
  }
}

resource mailRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: communication
  name: guid(communication.id, identity.id, 'Mail', mailRoleId)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', mailRoleId)
  }
}

module imageRole 'registry.bicep' = if (!empty(registryName)) {
  name: '${name}-registry'
  scope: resourceGroup(registryResourceGroup)
  params: {
    registryName: empty(registryName) ? 'none' : registryName
    principalId: identity.properties.principalId
  }
}

// Compute
resource logs 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    retentionInDays: logDays
    features: {
      disableLocalAuth: true
    }
    sku: {
      name: 'PerGB2018'
    }
  }
}

resource containerEnvironment 'Microsoft.App/managedEnvironments@2025-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    // From the ingress to the replicas, too, all is encrypted.
    peerTrafficConfiguration: {
      encryption: {
        enabled: true
      }
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

resource containerLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: containerEnvironment
  name: 'logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  // A replica that starts without its roles ends with what is missing, and is started again.
  dependsOn: [
    recordsRole
    objectsRole
    signingRole
    keysRole
    imageRole
  ]
  properties: {
    environmentId: containerEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        allowInsecure: false
        transport: 'http2'
        targetPort: frontPort
        customDomains: empty(certificateId) ? [] : [
          {
            name: domainName
            certificateId: certificateId
            bindingType: 'SniEnabled'
          }
        ]
      }
      registries: empty(registryName) ? [] : [
        {
          server: '${registryName}${environment().suffixes.acrLoginServer}'
          identity: identity.id
        }
      ]
      secrets: [
        {
          name: 'front'
          value: loadTextContent('Caddyfile')
        }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 60
      containers: [
        {
          // One process serves all services, on two ports of loopback.
          name: 'workspace'
          image: pinnedImage
          command: [
            'wm'
            'serve'
          ]
          resources: {
            cpu: json('0.75')
            memory: '1.5Gi'
          }
          volumeMounts: [
            {
              volumeName: 'scratch'
              mountPath: '/tmp/workspace'
            }
          ]
          env: [
            {
              name: 'AZURE_CLIENT_ID'
              value: identity.properties.clientId
            }
            {
              name: 'WM_ENVIRONMENT'
              value: environmentName
            }
            {
              name: 'WM_DATA_DIR'
              value: '/tmp/workspace/data'
            }
            {
              name: 'WM_AZURE_CLOUD'
              value: clouds[environment().name]
            }
            {
              name: 'WM_AZURE_LOCATION'
              value: location
            }
            {
              name: 'WM_RECORDS'
              value: 'cosmos'
            }
            {
              name: 'WM_AZURE_COSMOS_ACCOUNT'
              value: cosmosAccountName
            }
            {
              name: 'WM_AZURE_COSMOS_DATABASE'
              value: cosmosDatabaseName
            }
            {
              name: 'WM_AZURE_COSMOS_CONTAINER'
              value: cosmosContainerName
            }
            {
              name: 'WM_OBJECTS'
              value: 'azure_blob'
            }
            {
              name: 'WM_AZURE_STORAGE_ACCOUNT'
              value: storageAccountName
            }
            {
              name: 'WM_AZURE_STORAGE_CONTAINER'
              value: storageContainerName
            }
            {
              name: 'WM_KEYS_SECRET'
              value: 'keyvault:${vault.name}/workspace-keys'
            }
            {
              name: 'WM_EVENTS'
              value: 'eventgrid'
            }
            {
              name: 'WM_AZURE_EVENT_TOPIC'
              value: eventTopic.properties.endpoint
            }
            {
              name: 'WM_MAIL'
              value: mailLinked ? 'communication' : 'off'
            }
            {
              name: 'WM_MAIL_FROM'
              value: 'DoNotReply@${emailDomain.properties.fromSenderDomain}'
            }
            {
              name: 'WM_AZURE_COMMUNICATION_ENDPOINT'
              value: 'https://${communication.properties.hostName}'
            }
            {
              name: 'WM_ENTRA_TENANT_ID'
              value: entraTenantId
            }
            {
              name: 'WM_ENTRA_CLIENT_IDS'
              value: entraClientIds
            }
            {
              name: 'WM_ENTRA_EXTERNAL'
              value: entraExternal ? 'true' : 'false'
            }
            {
              name: 'WM_PUBLIC_URL'
              value: 'https://${hostName}'
            }
            {
              name: 'WM_GRPC_HOST'
              value: '127.0.0.1'
            }
            {
              name: 'WM_GRPC_PORT'
              value: '50051'
            }
            {
              name: 'WM_HTTP_HOST'
              value: '127.0.0.1'
            }
            {
              name: 'WM_HTTP_PORT'
              value: '8080'
            }
            {
              name: 'WM_REFLECTION'
              value: 'false'
            }
            {
              name: 'WM_LOG_FORMAT'
              value: 'json'
            }
            {
              name: 'WM_LOG_LEVEL'
              value: logLevel
            }
            {
              name: 'WM_DRAIN_DELAY'
              value: '20'
            }
            {
              name: 'WM_DRAIN_GRACE'
              value: '30'
            }
          ]
          // Probes come to the replica's address: the front answers what the process says.
          probes: [
            {
              type: 'Startup'
              httpGet: {
                port: frontPort
                path: '/readyz'
              }
              periodSeconds: 30
              timeoutSeconds: 5
              failureThreshold: 10
            }
            {
              type: 'Readiness'
              httpGet: {
                port: frontPort
                path: '/readyz'
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Liveness'
              httpGet: {
                port: frontPort
                path: '/healthz'
              }
              periodSeconds: 20
              timeoutSeconds: 10
              failureThreshold: 5
            }
          ]
        }
        {
          name: 'front'
          image: pinnedFront
          command: [
            'caddy'
            'run'
            '--config'
            '/etc/workspace/Caddyfile'
            '--adapter'
            'caddyfile'
          ]
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
          volumeMounts: [
            {
              volumeName: 'front'
              mountPath: '/etc/workspace'
            }
          ]
          probes: [
            {
              type: 'Liveness'
              tcpSocket: {
                port: frontPort
              }
              periodSeconds: 20
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
        }
      ]
      scale: {
        minReplicas: leastReplicas
        maxReplicas: mostReplicas
        rules: [
          {
            name: 'load'
            custom: {
              type: 'cpu'
              metadata: {
                type: 'Utilization'
                value: '60'
              }
            }
          }
        ]
      }
      volumes: [
        {
          name: 'scratch'
          storageType: 'EmptyDir'
        }
        {
          name: 'front'
          storageType: 'Secret'
          secrets: [
            {
              secretRef: 'front'
              path: 'Caddyfile'
            }
          ]
        }
      ]
    }
  }
}

@description('WM_PUBLIC_URL: the address of the HTTP API, and of gRPC at port 443')
output url string = 'https://${hostName}'

@description('What domainName must be an alias (CNAME) of')
output containerHostName string = '${name}.${containerEnvironment.properties.defaultDomain}'

@description('TXT record asuid.domainName, which proves the domain to Container Apps')
output domainVerificationId string = app.properties.customDomainVerificationId

@description('DNS records that verify mailDomain')
output mailRecords object = empty(mailDomain) ? {} : emailDomain.properties.verificationRecords

@description('WM_KEYS_SECRET')
output keysSecret string = 'keyvault:${vault.name}/workspace-keys'

@description('WM_AZURE_EVENT_TOPIC')
output eventTopicEndpoint string = eventTopic.properties.endpoint

@description('Client identifier of the identity, for pods with workload identity')
output identityClientId string = identity.properties.clientId
