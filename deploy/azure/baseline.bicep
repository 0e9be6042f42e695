// Baseline of a workspace: the private container and the records, as `wm setup azure` makes
// them (services/azure/setup/desired.py; a test compares). Roles are assigned by the runtime,
// or to a person by `wm setup azure`. Nothing here is removed when the deployment is.
targetScope = 'resourceGroup'

@description('dev, prod, ...; tags the resources.')
@minLength(1)
@maxLength(16)
param environmentName string = 'dev'

@description('Where all of it is.')
param location string = resourceGroup().location

@description('Storage account of raw and processed files; names are worldwide.')
@minLength(3)
@maxLength(24)
param storageAccountName string = 'workspacemanagedevdocs'

@description('Blob container of the files.')
@minLength(3)
@maxLength(63)
param storageContainerName string = 'workspace-documents'

@description('Cosmos DB account of the records; names are worldwide.')
@minLength(3)
@maxLength(44)
param cosmosAccountName string = 'workspace-management-dev-cosmos'

@description('Database in the Cosmos DB account.')
param cosmosDatabaseName string = 'workspace'

@description('Container of the records in that database.')
param cosmosContainerName string = 'workspace_items'

@description('Web origins whose pages use signed URLs, as https://app.example.com; empty for none.')
param allowedOrigins array = []

@description('Days a deleted or replaced file can be brought back.')
@minValue(1)
@maxValue(365)
param keepVersionsDays int = 30

@description('Pay per request instead of for throughput; counts when the account is made.')
param serverless bool = false

@description('The one free account of a subscription; counts when the account is made.')
param freeTier bool = false

@description('RU/s that the records may use at most; not with serverless.')
@minValue(1000)
param maxThroughput int = 1000

@description('Tags beside those of the workspace.')
param moreTags object = {}

var tags = union({
  Application: 'workspace-management'
  Environment: environmentName
}, moreTags)

resource storageAccount 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: storageAccountName
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  tags: tags
  properties: {
    accessTier: 'Hot'
    allowedCopyScope: 'AAD'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    sasPolicy: {
      expirationAction: 'Block'
      sasExpirationPeriod: '00.01:15:00'
    }
    supportsHttpsTrafficOnly: true
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: storageAccount
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: keepVersionsDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: keepVersionsDays
    }
    cors: {
      corsRules: empty(allowedOrigins) ? [] : [
        {
          allowedOrigins: allowedOrigins
          allowedMethods: [
            'GET'
            'HEAD'
            'PUT'
          ]
          allowedHeaders: [
            'content-type'
            'if-none-match'
            'range'
            'x-ms-blob-type'
          ]
          exposedHeaders: [
            'ETag'
            'Content-Range'
            'Accept-Ranges'
            'Content-Disposition'
          ]
          maxAgeInSeconds: 3600
        }
      ]
    }
  }
}

resource storageContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobService
  name: storageContainerName
  properties: {
    publicAccess: 'None'
  }
}

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2024-01-01' = {
  parent: storageAccount
  name: 'default'
  // Conditions on versions need versioning first.
  dependsOn: [
    blobService
  ]
  properties: {
    policy: {
      rules: [
        {
          name: 'workspace-expire-old-versions'
          enabled: true
          type: 'Lifecycle'
          definition: {
            actions: {
              version: {
                delete: {
                  daysAfterCreationGreaterThan: 1
                }
              }
            }
            filters: {
              blobTypes: [
                'blockBlob'
                'appendBlob'
              ]
              prefixMatch: [
                '${storageContainerName}/'
              ]
            }
          }
        }
        {
          name: 'workspace-expire-staged'
          enabled: true
          type: 'Lifecycle'
          definition: {
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: 8
                }
              }
              snapshot: {
                delete: {
                  daysAfterCreationGreaterThan: 8
                }
              }
            }
            filters: {
              blobTypes: [
                'blockBlob'
                'appendBlob'
              ]
              prefixMatch: [
                '${storageContainerName}/.multipart/'
              ]
            }
          }
        }
      ]
    }
  }
}

resource cosmosAccount 'Microsoft.DocumentDB/databaseAccounts@2024-11-15' = {
  name: cosmosAccountName
  location: location
  kind: 'GlobalDocumentDB'
  tags: tags
  properties: {
    databaseAccountOfferType: 'Standard'
    locations: [
      {
        locationName: location
        failoverPriority: 0
        isZoneRedundant: false
      }
    ]
    consistencyPolicy: {
      defaultConsistencyLevel: 'Strong'
    }
    enableMultipleWriteLocations: false
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: {
        tier: 'Continuous7Days'
      }
    }
    enableFreeTier: freeTier
    capabilities: serverless ? [
      {
        name: 'EnableServerless'
      }
    ] : []
  }
}

resource cosmosDatabase 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2024-11-15' = {
  parent: cosmosAccount
  name: cosmosDatabaseName
  properties: {
    resource: {
      id: cosmosDatabaseName
    }
    options: {}
  }
}

resource cosmosContainer 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2024-11-15' = {
  parent: cosmosDatabase
  name: cosmosContainerName
  properties: {
    resource: {
      id: cosmosContainerName
      partitionKey: {
        paths: [
          '/pk'
        ]
        kind: 'Hash'
        version: 2
      }
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [
          {
            path: '/k/?'
          }
          {
            path: '/i1/?'
          }
          {
            path: '/i2/?'
          }
          {
            path: '/i3/?'
          }
          {
            path: '/i4/?'
          }
        ]
        excludedPaths: [
          {
            path: '/*'
          }
          {
            path: '/"_etag"/?'
          }
        ]
      }
      defaultTtl: -1
    }
    options: serverless ? {} : {
      autoscaleSettings: {
        maxThroughput: maxThroughput
      }
    }
  }
}

@description('storage.account of backend.toml')
output storageAccountName string = storageAccount.name

@description('storage.container of backend.toml')
output storageContainerName string = storageContainer.name

@description('database.account of backend.toml')
output cosmosAccountName string = cosmosAccount.name

@description('database.database of backend.toml')
output cosmosDatabaseName string = cosmosDatabase.name

@description('database.container of backend.toml')
output cosmosContainerName string = cosmosContainer.name
