package check

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// manifests decodes the documents of a file into the types of Kubernetes's own API; a field that is not
// known is an error. It returns them by their kind.
func manifests(t *testing.T, path string) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, doc := range strings.Split(read(t, path), "\n---\n") {
		var kind meta.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		object, ok := map[string]any{
			"v1 Secret":           &core.Secret{},
			"v1 ConfigMap":        &core.ConfigMap{},
			"apps/v1 StatefulSet": &apps.StatefulSet{},
			"batch/v1 CronJob":    &batch.CronJob{},
		}[kind.APIVersion+" "+kind.Kind]
		if !ok {
			t.Fatalf("%s: an unknown %v", path, kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Fatalf("%s: %s: %v", path, kind.Kind, err)
		}
		if found[kind.Kind] != nil {
			t.Fatalf("%s: two of %s", path, kind.Kind)
		}
		found[kind.Kind] = object
	}
	return found
}

// get returns the one object of a type in a file.
func get[T any](t *testing.T, path string) T {
	t.Helper()
	for _, object := range manifests(t, path) {
		if object, ok := object.(T); ok {
			return object
		}
	}
	t.Fatalf("%s: no %T", path, *new(T))
	panic("not reached")
}

func TestSidecar(t *testing.T) {
	const path = "kubernetes/sidecar.yaml"
	set := get[*apps.StatefulSet](t, path)
	pod := set.Spec.Template.Spec
	if set.Spec.Replicas == nil || *set.Spec.Replicas != 1 {
		t.Error("there is not one pod")
	}
	if !selects(set.Spec.Selector, set.Spec.Template.Labels) {
		t.Error("its selector does not select its pods")
	}
	c := only(t, path, pod.InitContainers, "litestash")
	if c.RestartPolicy == nil || *c.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("it is no sidecar, and the application would never start")
	}
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	if grace < stopTimeout(t, c.Args)+30*time.Second {
		t.Errorf("both are killed after %v", grace)
	}
	if pod.SecurityContext.FSGroup == nil || *pod.SecurityContext.FSGroup != appUser {
		t.Error("the volume does not belong to the application")
	}
	volumes := pod.Volumes
	for _, claim := range set.Spec.VolumeClaimTemplates {
		volumes = append(volumes, core.Volume{Name: claim.Name})
		if !slices.Equal(claim.Spec.AccessModes, []core.PersistentVolumeAccessMode{core.ReadWriteOnce}) {
			t.Errorf("the volume %s can be used by %v", claim.Name, claim.Spec.AccessModes)
		}
	}
	b, inv := container(t, path, pod, c, volumes)
	b.watch(t, inv, b.mounts["/store"], application(t, filepath.Join(b.mounts["/data"], "app.db")))
}

func TestCronJob(t *testing.T) {
	const path = "kubernetes/cronjob.yaml"
	job := get[*batch.CronJob](t, path)
	if job.Spec.ConcurrencyPolicy != batch.ForbidConcurrent {
		t.Errorf("its jobs may be %s", job.Spec.ConcurrencyPolicy)
	}
	spec := job.Spec.JobTemplate.Spec
	pod := spec.Template.Spec
	if pod.RestartPolicy != core.RestartPolicyNever {
		t.Errorf("a podFailurePolicy needs pods that are never restarted, and these are %s", pod.RestartPolicy)
	}
	set := get[*apps.StatefulSet](t, "kubernetes/sidecar.yaml")
	terms := pod.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(terms) != 1 || !selects(terms[0].LabelSelector, set.Spec.Template.Labels) {
		t.Error("it is not on the application's node")
	}
	for _, v := range pod.Volumes {
		if c := v.PersistentVolumeClaim; c != nil && c.ClaimName != set.Spec.VolumeClaimTemplates[0].Name+"-"+set.Name+"-0" {
			t.Errorf("the application's volume is not %s", c.ClaimName)
		}
	}
	if pod.SecurityContext.FSGroup != nil {
		t.Error("the owners of the application's files would be changed")
	}
	c := only(t, path, pod.Containers, "litestash")
	for _, r := range spec.PodFailurePolicy.Rules {
		if r.OnExitCodes != nil && (*r.OnExitCodes.ContainerName != c.Name || !slices.IsSorted(r.OnExitCodes.Values)) {
			t.Errorf("a rule is for %s and %v", *r.OnExitCodes.ContainerName, r.OnExitCodes.Values)
		}
	}
	b, inv := container(t, path, pod, c, pod.Volumes)
	sql := application(t, filepath.Join(b.mounts["/data"], "app.db"))
	for n := 1; n <= 2; n++ {
		b.mounts["/tmp"] = openDir(t, shared) // of a new pod
		b.run(t, inv)
		sql("INSERT INTO t VALUES('more')")
		if got := snapshots(t, b.mounts["/store"]); len(got) != n || n == 2 && !strings.HasSuffix(got[1], ".delta.zst") {
			t.Errorf("push %d leaves %q", n, got)
		}
	}
}

// container returns what runs a container's command as the cluster would, but for the store, which is a
// directory.
func container(t *testing.T, path string, pod core.PodSpec, c core.Container, volumes []core.Volume) (*box, invocation) {
	t.Helper()
	checkPod(t, path, pod, c)
	i := buildImage(t)
	inv := i.inv
	inv.from, inv.uid, inv.groups = path, int(*pod.SecurityContext.RunAsUser), []int{int(*pod.SecurityContext.RunAsGroup)}
	if len(c.Command) > 0 {
		t.Errorf("%s: the image has an entry point, and this has another: %q", path, c.Command)
	}
	inv.argv = append(slices.Clone(inv.argv), c.Args...)
	for _, from := range c.EnvFrom {
		config := get[*core.ConfigMap](t, "kubernetes/sidecar.yaml")
		if from.ConfigMapRef == nil || from.ConfigMapRef.Name != config.Name {
			t.Fatalf("%s: no ConfigMap is called as in %+v", path, from)
		}
		for k, v := range config.Data {
			inv.env[k] = v
		}
	}
	for _, e := range c.Env {
		inv.env[e.Name] = e.Value
	}
	if inv.env["LITESTASH_HOST"] == "" {
		t.Errorf("%s: the source has the name of a pod", path)
	}
	b := newBox(t, i.root, "/store")
	inv.env["LITESTASH_STORE"] = "/store"
	inv.writable = []string{"/store"}
	for _, m := range c.VolumeMounts {
		b.mounts[m.MountPath] = openDir(t, shared)
		if !m.ReadOnly {
			inv.writable = append(inv.writable, m.MountPath)
		}
		n := slices.IndexFunc(volumes, func(v core.Volume) bool { return v.Name == m.Name })
		if n < 0 {
			t.Fatalf("%s: there is no volume %s", path, m.Name)
		}
		switch v := volumes[n]; {
		case v.EmptyDir != nil && v.EmptyDir.Medium == core.StorageMediumMemory:
			t.Errorf("%s: %s is memory", path, m.Name)
		case v.Secret != nil:
			secret := get[*core.Secret](t, "kubernetes/sidecar.yaml")
			file := filepath.Join(m.MountPath, "credentials")
			if v.Secret.SecretName != secret.Name || secret.StringData["credentials"] == "" || inv.env["AWS_SHARED_CREDENTIALS_FILE"] != file {
				t.Errorf("%s: the credentials are not at %s", path, inv.env["AWS_SHARED_CREDENTIALS_FILE"])
			}
			if mode := *v.Secret.DefaultMode; mode&0o004 == 0 && (mode&0o040 == 0 || pod.SecurityContext.FSGroup == nil) {
				t.Errorf("%s: the credentials are root's, with mode %#o", path, mode)
			}
		}
	}
	checkMounts(t, inv, b)
	return b, inv
}

// checkPod checks that a pod and its container meet the "restricted" standard:
// https://kubernetes.io/docs/concepts/security/pod-security-standards/
func checkPod(t *testing.T, path string, pod core.PodSpec, c core.Container) {
	t.Helper()
	p, s := pod.SecurityContext, c.SecurityContext
	if p == nil || s == nil {
		t.Fatalf("%s: there is no securityContext", path)
	}
	for what, ok := range map[string]bool{
		"not root":               p.RunAsNonRoot != nil && *p.RunAsNonRoot && *p.RunAsUser == appUser && *p.RunAsGroup == appUser,
		"seccomp":                p.SeccompProfile != nil && p.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault,
		"a read-only root":       s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem,
		"no new privileges":      s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		"no capabilities":        s.Capabilities != nil && slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) && s.Capabilities.Add == nil,
		"no token":               pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken,
		"a limit of memory":      s != nil && c.Resources.Limits.Memory().Value() >= 192<<20,
		"no limit of processors": c.Resources.Limits.Cpu().IsZero(),
	} {
		if !ok {
			t.Errorf("%s: there is not: %s", path, what)
		}
	}
}

func selects(s *meta.LabelSelector, podLabels map[string]string) bool {
	selector, err := meta.LabelSelectorAsSelector(s)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(podLabels))
}

// only returns the one container of a list, which has a name.
func only(t *testing.T, path string, list []core.Container, name string) core.Container {
	t.Helper()
	if len(list) != 1 || list[0].Name != name {
		t.Fatalf("%s: want one container, %s", path, name)
	}
	return list[0]
}
