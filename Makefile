# Every target calls one script. "make demo" and "make test" are all that a newcomer needs.

.PHONY: build demo test generate lint bench lab-up lab-down fuzz sbom

build: ## Build bin/fleet-handshake
	./scripts/build

demo: ## Watch a Secret travel to three real clusters
	./scripts/demo

test: ## Run every test
	./scripts/test

generate: ## Write what is generated from the API types
	./scripts/generate

lint: ## Check formatting, vet and lint
	./scripts/lint

bench: ## Measure memory and speed
	./scripts/bench

fuzz: ## Fuzz the pure packages, and send 10,000 mutated objects to the operator
	./scripts/fuzz

sbom: ## Write what the operator is built from to bin/fleet-handshake.cdx.json
	./scripts/sbom

lab-up: ## Start a hub and three downstream clusters to explore
	./scripts/lab up

lab-down: ## End them
	./scripts/lab down
