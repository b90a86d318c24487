"""Checks a Job's manifest field by field against batch/v1 and prints it as JSON; exit 77 without PyYAML."""
import json
import sys

try:
    import yaml
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

# Of batch/v1 and core/v1 (Kubernetes 1.33): the fields of what a Job like ours is made of. A list stands
# for a list of such, `object` for what is not looked into, QUANTITIES for {cpu: 4, memory: 2Gi}.
QUANTITIES = {}
KINDS = {
    "Job": dict(apiVersion=str, kind=str, metadata="ObjectMeta", spec="JobSpec"),
    "ObjectMeta": dict(name=str, namespace=str, labels=object, annotations=object),
    "JobSpec": dict(
        activeDeadlineSeconds=int, backoffLimit=int, backoffLimitPerIndex=int, completionMode=str,
        completions=int, managedBy=str, manualSelector=bool, maxFailedIndexes=int, parallelism=int,
        podFailurePolicy="PodFailurePolicy", podReplacementPolicy=str, selector=object,
        successPolicy=object, suspend=bool, template="PodTemplateSpec", ttlSecondsAfterFinished=int,
    ),
    "PodFailurePolicy": dict(rules=["PodFailurePolicyRule"]),
    "PodFailurePolicyRule": dict(
        action=str, onExitCodes="ExitCodes", onPodConditions=["PodCondition"]
    ),
    "ExitCodes": dict(containerName=str, operator=str, values=[int]),
    "PodCondition": dict(type=str, status=str),
    "PodTemplateSpec": dict(metadata="ObjectMeta", spec="PodSpec"),
    "PodSpec": dict(
        activeDeadlineSeconds=int, affinity=object, automountServiceAccountToken=bool,
        containers=["Container"], imagePullSecrets=object, initContainers=["Container"],
        nodeSelector=object, priorityClassName=str, restartPolicy=str, runtimeClassName=str,
        securityContext=object, serviceAccountName=str, terminationGracePeriodSeconds=int,
        tolerations=object, topologySpreadConstraints=object, volumes=["Volume"],
    ),
    "Container": dict(
        args=[str], command=[str], env=["EnvVar"], envFrom=object, image=str, imagePullPolicy=str,
        name=str, resources="Resources", securityContext=object, volumeMounts=["VolumeMount"],
        workingDir=str,
    ),
    "EnvVar": dict(name=str, value=str, valueFrom=object),
    "Resources": dict(limits=QUANTITIES, requests=QUANTITIES),
    "VolumeMount": dict(mountPath=str, name=str, readOnly=bool, subPath=str),
    "Volume": dict(
        name=str, configMap=object, emptyDir=object, hostPath=object, nfs=object,
        persistentVolumeClaim="Claim", secret=object,
    ),
    "Claim": dict(claimName=str, readOnly=bool),
}
REQUIRED = {
    "Job": ["apiVersion", "kind", "metadata", "spec"], "JobSpec": ["template"], "PodSpec": ["containers"],
    "PodFailurePolicy": ["rules"], "PodFailurePolicyRule": ["action"], "ExitCodes": ["operator", "values"],
    "Container": ["name", "image"], "EnvVar": ["name"], "VolumeMount": ["mountPath", "name"],
    "Volume": ["name"], "Claim": ["claimName"],
}


def check(value, kind, place):
    if kind is object:
        return
    if isinstance(kind, list):
        expect(isinstance(value, list), f"{place}: expected a list, got {value!r}")
        for at, each in enumerate(value):
            check(each, kind[0], f"{place}[{at}]")
    elif isinstance(kind, dict):
        for key, each in value.items():
            expect(isinstance(key, str) and isinstance(each, (str, int)), f"{place}.{key}: expected a quantity")
    elif isinstance(kind, str):
        expect(isinstance(value, dict), f"{place}: expected a {kind}, got {value!r}")
        for key in REQUIRED.get(kind, []):
            expect(key in value, f"{place}: expected {key}")
        for key, each in value.items():
            expect(key in KINDS[kind], f"{place}: {kind} has no field {key}")
            check(each, KINDS[kind][key], f"{place}.{key}")
    else:
        expect(type(value) is kind, f"{place}: expected {kind.__name__}, got {value!r}")


def expect(holds, message):
    if not holds:
        sys.exit(message)


with open(sys.argv[1]) as file:
    jobs = list(yaml.safe_load_all(file))
expect(len(jobs) == 1, f"expected one object, found {len(jobs)}")
check(jobs[0], "Job", "job")
spec, pod = jobs[0]["spec"], jobs[0]["spec"]["template"]["spec"]
expect((jobs[0]["apiVersion"], jobs[0]["kind"]) == ("batch/v1", "Job"), "want a Job of batch/v1")
# what the API server asks beyond the types
expect(spec.get("completionMode") == "Indexed", "want completionMode Indexed: the index is the part")
expect(pod.get("restartPolicy") == "Never", "podFailurePolicy wants restartPolicy Never")
volumes = {volume["name"] for volume in pod.get("volumes", [])}
for container in pod["containers"]:
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    expect(mounted <= volumes, f"volumes that are not there: {mounted - volumes}")
json.dump(jobs[0], sys.stdout)
